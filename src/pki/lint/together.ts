import { DEFAULT_ALGORITHMS } from '../algorithms.ts';
import type { AlgorithmProfile, HashName } from '../algorithms.ts';
import { authorityKey } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { formatName } from '../name.ts';
import { verifySignature } from '../signature.ts';
import type { CertificateUse, Finding } from './rules.ts';
import { isPublic } from './validation.ts';

/** One certificate of several that are looked at together. */
export interface Placed {
  /** What messages call it: its file, and which certificate of it. */
  readonly place: string;
  readonly certificate: Certificate;
  readonly use: CertificateUse;
}

/** A finding about one of several certificates. */
export interface PlacedFinding<T extends Placed = Placed> {
  readonly at: T;
  readonly finding: Finding;
}

// Old hashes are a finding of their own; here it only matters who signed.
const ANY_HASH: AlgorithmProfile = { ...DEFAULT_ALGORITHMS, hashes: new Set<HashName>([...DEFAULT_ALGORITHMS.hashes, 'sha1', 'sha224']), minRsaBits: 1024 };

/**
 * Whether a leaf and what follows it in its file are a chain as TLS wants it presented: each certified by the next (RFC 5246
 * section 7.4.2; RFC 8446 section 4.4.2 advises it), no root. `others` are CAs known from elsewhere, which tell that
 * an intermediate was left out.
 */
export function chainFindings<T extends Placed>(chain: readonly T[], others: readonly Certificate[]): readonly PlacedFinding<T>[] {
  const [leaf, ...rest] = chain;
  if (leaf === undefined) return [];
  if (isSelfSigned(leaf.certificate)) {
    const remedy = 'use a certificate that a CA issued';
    const own: PlacedFinding<T> = { at: leaf, finding: { rule: 'self-signed', severity: 'warning', detail: 'signed by itself: nobody can revoke it, and everybody has to be given it', remedy } };
    return [own, ...rest.map((at) => extra(at))];
  }
  return walk(leaf, rest, others);
}

function walk<T extends Placed>(leaf: T, rest: readonly T[], others: readonly Certificate[]): readonly PlacedFinding<T>[] {
  const findings: PlacedFinding<T>[] = [];
  const left = [...rest];
  let current = leaf;
  while (!isSelfSigned(current.certificate)) {
    const index = left.findIndex(({ certificate }) => issued(certificate, current.certificate));
    const next = left[index];
    if (next === undefined) break;
    if (index > 0) {
      findings.push({ at: next, finding: { rule: 'chain-order', severity: 'warning', detail: `certifies ${subjectOf(current.certificate)} and does not stand right after it (RFC 5246 section 7.4.2)`, remedy: 'put leaf, issuer, issuer\'s issuer in this order' } });
    }
    left.splice(index, 1);
    if (isSelfSigned(next.certificate)) {
      findings.push({ at: next, finding: { rule: 'chain-root', severity: 'note', detail: 'a root: who trusts it has it, and who has not does not take it from here (RFC 8446 section 4.4.2)', remedy: 'leave it out: it costs octets in every handshake' } });
    }
    current = next;
  }
  const gap = gapAfter(current, left, others);
  return [...findings, ...(gap === undefined ? [] : [gap]), ...left.map((at) => extra(at))];
}

/** What shows that a chain ends too early. A root is rightly left out, so its absence shows nothing. */
function gapAfter<T extends Placed>(last: T, left: readonly T[], others: readonly Certificate[]): PlacedFinding<T> | undefined {
  const { certificate, use } = last;
  if (isSelfSigned(certificate)) return undefined;
  const remedy = 'append the intermediate CA certificates, the leaf\'s issuer first';
  const issuer = formatName(certificate.issuer);
  const gap = (severity: 'error' | 'warning', detail: string): PlacedFinding<T> => ({ at: last, finding: { rule: 'chain-gap', severity, detail, remedy } });
  const namesake = left.find((other) => other.certificate.subject.normalized === certificate.issuer.normalized);
  if (namesake !== undefined) return gap('error', `its issuer is called ${issuer}, as ${namesake.place} is, whose key did not sign it`);
  if (left.length > 0) return gap('error', `its issuer ${issuer} is not in the file, and what follows leads nowhere`);
  const known = others.filter((other) => issued(other, certificate));
  if (known.length > 0 && known.every((other) => !isSelfSigned(other))) return gap('warning', `its issuer ${issuer} is an intermediate CA and is not in the file: clients that have only the root cannot find the way`);
  // Baseline Requirements section 6.1.7: no public root signs leaves.
  if (known.length === 0 && use === 'server' && isPublic(certificate)) return gap('warning', `issued by ${issuer}, a public CA below a root, which is not in the file`);
  return undefined;
}

function extra<T extends Placed>(at: T): PlacedFinding<T> {
  return { at, finding: { rule: 'chain-extra', severity: 'warning', detail: 'on no way from the first certificate of its file', remedy: 'remove it from this file' } };
}

function subjectOf({ subject }: Certificate): string {
  return formatName(subject);
}

function isSelfSigned(certificate: Certificate): boolean {
  return certificate.selfIssued && issued(certificate, certificate);
}

/** Whether the key of `issuer` signed `child`; where the signature cannot be looked at, the name has to do. */
function issued(issuer: Certificate, child: Certificate): boolean {
  if (issuer.subject.normalized !== child.issuer.normalized) return false;
  const { tbs, signatureAlgorithm: algorithm, signature } = child;
  return verifySignature({ tbs, algorithm, signature, spki: issuer.spki }, ANY_HASH).kind !== 'invalid';
}

/** Keys that several certificates share, and serial numbers that one issuer gave twice. */
export function sharedFindings<T extends Placed>(placed: readonly T[]): readonly PlacedFinding<T>[] {
  const distinct = [...new Map(placed.map((one) => [one.certificate.sha256, one])).values()];
  const keys = [...Map.groupBy(distinct, ({ certificate }) => certificate.spkiSha256).values()].filter((group) => group.length > 1);
  const serials = [...Map.groupBy(distinct, ({ certificate }) => `${certificate.serial} ${certificate.issuer.normalized}`).values()].filter((group) => group.length > 1);
  return [...keys.flatMap(reusedKey), ...serials.flatMap(twiceNumbered)];
}

function reusedKey<T extends Placed>(group: readonly T[]): readonly PlacedFinding<T>[] {
  // The same CA under another issuer, or renewed: that is what cross-certificates are.
  const authorities = new Set(group.map(({ certificate, use }) => (use === 'ca' ? authorityKey(certificate) : '')));
  if (authorities.size === 1 && !authorities.has('')) return [];
  const mixed = authorities.size > 1 && authorities.has('');
  const remedy = mixed ? 'give the leaf a key of its own, now' : 'make a new key with every new certificate';
  return group.map((at) => ({
    at,
    finding: {
      rule: 'key-reused', severity: mixed ? 'error' : 'warning', remedy,
      detail: `the same public key as ${placesBeside(group, at)}: whoever has one private key has ${group.length === 2 ? 'both' : 'all'} (NIST SP 800-57 part 1 section 5.2)`,
    },
  }));
}

function twiceNumbered<T extends Placed>(group: readonly T[]): readonly PlacedFinding<T>[] {
  return group.map((at) => ({
    at,
    finding: {
      rule: 'serial-duplicate', severity: 'error', remedy: 'have all but one issued anew: revoking one revokes the others',
      detail: `the same serial number by the same issuer as ${placesBeside(group, at)}; expected a unique one (RFC 5280 section 4.1.2.2)`,
    },
  }));
}

const MOST_PLACES = 3;

function placesBeside(group: readonly Placed[], at: Placed): string {
  const others = group.filter((one) => one !== at).map(({ place }) => place);
  return others.length > MOST_PLACES ? `${others.slice(0, MOST_PLACES).join(', ')} and ${others.length - MOST_PLACES} more` : others.join(', ');
}
