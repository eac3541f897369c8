import { networkInterfaces } from 'node:os';
import { formatName } from '../../pki/name.ts';
import { judgeOcspResponse } from '../../pki/ocsp.ts';
import { bad, doubt, ending, good, spanText, unknown, type Finding } from './finding.ts';
import { acceptedAuthorities, addressesOf, connectFailure, faultText, handshake, type Credentials, type Shown, type Target } from './probe.ts';

/** As the gateway allows the PKI by default. */
const SKEW_MS = 60_000;
/** Of an answer that does not say when the next one comes. */
const LONGEST_BELIEVED_MS = 86_400_000;

/** What OpenSSL calls it when the root is not one that it knows. */
const UNKNOWN_ROOT: ReadonlySet<string> = new Set(['SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'DEPTH_ZERO_SELF_SIGNED_CERT']);

const RENEW = 'have it issued anew, and replace the file: it is in force without a restart';
const REMEDIES: Readonly<Record<string, string>> = { CERT_HAS_EXPIRED: RENEW, CERT_NOT_YET_VALID: 'is the clock of this machine right? Otherwise wait, or have it issued anew' };

/** What somebody outside meets on the way in: the name, the port, the versions of TLS, the certificate, what is asked of clients. */
export async function lookFromOutside(about: string, target: Target, credentials: Credentials, now: number, local: boolean): Promise<readonly Finding[]> {
  const findings = [await nameFinding(about, target.name, local)];
  const closed = await connectFailure(target);
  if (closed !== undefined) {
    return [...findings, bad(about, `nothing answers on ${target.host} port ${target.port}: ${closed.message}`, 'is the gateway running, and does a firewall let this port through?')];
  }
  findings.push(good(about, `${target.host} port ${target.port} answers`));
  const shown = await handshake(target, credentials);
  if (shown instanceof Error) {
    return [...findings, bad(about, `no TLS handshake for ${target.name}: ${shown.message}`, 'a name that no certificate of the listener covers is closed without a word: see its certificates, and the log')];
  }
  return [...findings, ...await versionFindings(about, target, credentials), ...certificateFindings(about, target, shown, now, credentials.trust !== undefined), ...stapleFindings(about, shown, now), await clientFinding(about, target)];
}

async function nameFinding(about: string, name: string, local: boolean): Promise<Finding> {
  const found = await addressesOf(name);
  if (found instanceof Error) return bad(about, `${name} has no address: ${found.message}`, 'have the name entered in DNS, or in the hosts file of those who use it');
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)));
  if (local && !found.some((address) => own.has(address))) {
    return doubt(about, `${name} leads to ${found.join(', ')}, which is not this machine`, 'right where a balancer stands in front; otherwise correct DNS');
  }
  return good(about, `${name} leads to ${found.join(', ')}`);
}

async function versionFindings(about: string, target: Target, credentials: Credentials): Promise<Finding[]> {
  const [modern, usual, old] = await Promise.all((['TLSv1.3', 'TLSv1.2', 'TLSv1.1'] as const).map((version) => handshake(target, credentials, version)));
  const taken = [['1.3', modern], ['1.2', usual]].filter(([, shown]) => !(shown instanceof Error)).map(([version]) => version as string);
  return [
    taken.includes('1.3') ? good(about, `TLS ${taken.join(' and ')}`) : doubt(about, `TLS ${taken.join(' and ') || 'of no version'}, not 1.3`, 'take a profile that has it: wardgate profile'),
    old instanceof Error ? good(about, 'TLS 1.1 is refused') : bad(about, 'TLS 1.1 is taken', 'something else than Wardgate ends TLS here: see what stands in front'),
  ];
}

function certificateFindings(about: string, { name }: Target, { chain, fault }: Shown, now: number, trusted: boolean): Finding[] {
  const [leaf] = chain;
  if (leaf === undefined) return [bad(about, 'no certificate was shown', 'see the listener\'s certificates')];
  const through = chain.slice(1).map(({ subject }) => formatName(subject)).join(' | ');
  const verdict = fault === undefined ? good(about, `its certificate verifies for ${name}${through === '' ? '' : `, through ${through}`}`)
    : !trusted && UNKNOWN_ROOT.has(fault) ? unknown(about, `whether its certificate verifies cannot be told: no CA of this machine vouches for it (${through === '' ? 'it came alone' : `it came with ${through}`})`, 'name the root of your own CA with --trust')
      : bad(about, `its certificate does not verify for ${name}: ${faultText(fault)}`, REMEDIES[fault] ?? (UNKNOWN_ROOT.has(fault) ? 'does --trust hold its root (wardgate status says which certificate serves: a stand-by may be of another CA), and the certificate file its intermediates?' : 'does the certificate file hold its intermediates, and name this host?'));
  const first = chain.reduce((sooner, one) => (one.notAfter < sooner.notAfter ? one : sooner), leaf);
  return [verdict, ending(about, first === leaf ? 'its certificate' : `${formatName(first.subject)}, which vouches for it,`, first.notAfter, now, RENEW)];
}

function stapleFindings(about: string, { staple, chain }: Shown, now: number): Finding[] {
  const [leaf, issuer] = chain;
  if (leaf === undefined || issuer === undefined) return [];
  const named = leaf.ocspResponders.length > 0;
  if (staple === undefined) {
    return [named ? doubt(about, 'no OCSP answer is stapled although the certificate names a responder', 'wardgate status shows whether the responder answers the gateway') : good(about, 'no OCSP answer is stapled: the certificate names no responder')];
  }
  const judged = judgeOcspResponse(staple, { certificate: leaf, issuer, now, skew: SKEW_MS, maxAge: LONGEST_BELIEVED_MS });
  switch (judged.kind) {
    case 'good': return [good(about, `a good OCSP answer is stapled, for ${spanText(judged.validUntil - now)} more`)];
    case 'revoked': return [bad(about, `the stapled OCSP answer says that the certificate was revoked on ${new Date(judged.revokedAt).toISOString()}`, 'have it issued anew at once')];
    default: return [bad(about, `the stapled OCSP answer is of no use: ${judged.detail}`, 'look at the responder, and at the clock')];
  }
}

async function clientFinding(about: string, target: Target): Promise<Finding> {
  if (target.proxied === true) return unknown(about, 'which CAs are asked of clients cannot be told behind a PROXY header', 'wardgate trust list shows the anchors in force');
  const found = await acceptedAuthorities(target);
  if (found === undefined) return unknown(about, 'which CAs are asked of clients cannot be told', 'install openssl on this machine to see it');
  if (found.length === 0) return doubt(about, 'no CA is named to clients: browsers then offer every certificate that there is', 'is it a listener of Wardgate?');
  return good(about, `clients are asked for certificates of: ${found.join(' | ')}`);
}
