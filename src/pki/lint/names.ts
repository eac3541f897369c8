import type { Certificate } from '../certificate.ts';
import { isPublic } from './validation.ts';
import type { CertificateUse, Finding } from './rules.ts';

const ADD_NAMES = 'have it issued anew with every name in the subject alternative names';

/** Under whose names it is: what clients compare (RFC 9525) is the alternative names and nothing else. */
export function nameFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  if (use === 'server') return serverNames(certificate);
  if (use === 'ca' || certificate.subjectAltNames.length > 0) return [];
  const common = commonNames(certificate);
  if (certificate.subject.rdns.length === 0) return [{ rule: 'san-missing', severity: 'error', detail: 'no subject and no alternative names: it is nobody\'s', remedy: ADD_NAMES }];
  if (use === 'unknown' || common.length === 0) return [];
  return [{ rule: 'cn-only', severity: 'note', detail: `named ${quoted(common)} by its subject alone; two people can have the same`, remedy: 'have a unique alternative name put into it: a URI, an e-mail address, a DNS name' }];
}

function serverNames(certificate: Certificate): readonly Finding[] {
  const { subjectAltNames } = certificate;
  const common = commonNames(certificate);
  const dns = subjectAltNames.flatMap((name) => (name.kind === 'dns' ? [name.value] : []));
  const addresses = subjectAltNames.flatMap((name) => (name.kind === 'ip' ? [name.value] : []));
  if (subjectAltNames.length === 0 && common.length > 0) {
    return [{ rule: 'cn-only', severity: 'error', detail: `named ${quoted(common)} by its common name alone; expected DNS alternative names, the only ones that clients compare (RFC 9525)`, remedy: ADD_NAMES }];
  }
  if (dns.length + addresses.length === 0) {
    return [{ rule: 'san-missing', severity: 'error', detail: `no DNS name and no address among the alternative names; expected those of the server (RFC 9525)`, remedy: ADD_NAMES }];
  }
  return [...commonNameFindings(certificate, common, [...dns, ...addresses]), ...dns.flatMap(dnsFindings), ...(isPublic(certificate) ? internalNames(dns, addresses) : [])];
}

function commonNameFindings(certificate: Certificate, common: readonly string[], names: readonly string[]): readonly Finding[] {
  const known = new Set(names.map((name) => name.toLowerCase()));
  // A common name such as "Hospital Gateway" is no host's, and misleads nobody.
  const strays = common.filter((name) => !known.has(name.toLowerCase()) && (isPublic(certificate) || /^[^\s.]+(?:\.[^\s.]+)+$/.test(name)));
  if (strays.length === 0) return [];
  return [{ rule: 'cn-not-in-san', severity: 'warning', detail: `the common name ${quoted(strays)} is not among the alternative names (Baseline Requirements section 7.1.4.3): clients will not know the server by it`, remedy: ADD_NAMES }];
}

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

function dnsFindings(name: string): readonly Finding[] {
  const host = name.startsWith('*.') ? name.slice(2) : name;
  const labels = host.split('.');
  if (name === '*' || name.startsWith('*.') && labels.length < 2) {
    return [{ rule: 'wildcard', severity: 'error', detail: `${quoted([name])} stands for every name of a whole domain of the top; expected at least two labels after the star`, remedy: 'name the hosts, or a wildcard below a domain of your own' }];
  }
  if (host.includes('*')) return [{ rule: 'wildcard', severity: 'warning', detail: `${quoted([name])} has a star that is no whole first label, which clients do not match (RFC 9525 section 6.3)`, remedy: 'name the hosts, or use *. in front' }];
  if (/^\d+(?:\.\d+){3}$/.test(host)) return [malformed(name, 'is an address among the DNS names, which clients do not match; expected an iPAddress')];
  if (labels.length > 1 && labels.at(-1) === '') return [malformed(name, 'ends with a dot, which clients do not match')];
  return host.length <= 253 && labels.every((label) => LABEL.test(label)) ? [] : [malformed(name, 'is no host name (RFC 5280 section 4.2.1.6)')];
}

function malformed(name: string, why: string): Finding {
  return { rule: 'name-malformed', severity: 'warning', detail: `${quoted([name])} ${why}`, remedy: ADD_NAMES };
}

/** RFC 6761, RFC 6762, RFC 8375 and names that ICANN keeps from ever being public. */
const NEVER_PUBLIC: ReadonlySet<string> = new Set(['localhost', 'local', 'internal', 'test', 'example', 'invalid', 'onion', 'home', 'corp', 'mail', 'lan', 'intranet', 'private']);

function internalNames(dns: readonly string[], addresses: readonly string[]): readonly Finding[] {
  const inner = [
    ...dns.filter((name) => !name.includes('.') || name.toLowerCase().endsWith('.home.arpa') || NEVER_PUBLIC.has(name.toLowerCase().slice(name.lastIndexOf('.') + 1))),
    ...addresses.filter((address) => /^(?:10\.|127\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.|::1$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/.test(address)),
  ];
  if (inner.length === 0) return [];
  return [{ rule: 'internal-name', severity: 'warning', detail: `a public CA vouched for ${quoted(inner)}, which anybody may use inside (Baseline Requirements section 4.2.2)`, remedy: 'use a CA of your own for internal names' }];
}

function commonNames({ subject }: Certificate): readonly string[] {
  return subject.rdns.flat().flatMap(({ type, value }) => (type === 'CN' ? [value] : []));
}

const MOST_QUOTED = 3;

/** A few of them, each short: a certificate chooses how many it has. */
function quoted(names: readonly string[]): string {
  const shown = names.slice(0, MOST_QUOTED).map((name) => JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name)).join(', ');
  return names.length > MOST_QUOTED ? `${shown} and ${names.length - MOST_QUOTED} more` : shown;
}
