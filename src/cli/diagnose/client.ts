import type { Snapshot } from '../../config/snapshot.ts';
import { compileRoles, identify } from '../../identity/roles.ts';
import { readBundle } from '../../pki/bundle.ts';
import { parseCertificate, type Certificate } from '../../pki/certificate.ts';
import { formatName } from '../../pki/name.ts';
import { createPool, validatePath } from '../../pki/path.ts';
import { operatorsConfig } from '../../policy/admin-route.ts';
import { openAlone } from '../admit-alone.ts';
import { bad, good, unknown, type Finding } from './finding.ts';

/** Of a client's chain: more is nobody's. */
const MOST_CERTIFICATES = 10;

/** What to do about a client that is refused, by the reason; `*` for all others. */
const REMEDIES: Readonly<Record<string, string>> = {
  untrusted_issuer: 'every request with it is refused: name its root in client_auth.trust, or take another certificate; wardgate explain --cert tells the whole',
  expired: 'every request with it is refused: have another one issued (wardgate temporary client, for a week)',
  revoked_denylist: 'every request with it is refused: wardgate status says who denied it and why, wardgate reinstate takes that back; otherwise have another one issued',
  '*': 'every request with it is refused: wardgate explain --cert tells the whole',
};

const NO_ROLE = 'no_role: no role matches what it carries';

/**
 * Whether a listener's trust leads to the client certificate that was given (PEM with its intermediates), and whether it is let in there. A handshake
 * cannot tell: the gateway finishes it and refuses afterwards. What it may do there is for `wardgate explain`. Hands over the CRLs of the snapshot.
 */
export async function clientFindings(snapshot: Snapshot, pem: string, now: number): Promise<readonly Finding[]> {
  const [leaf, ...chain] = readBundle(Buffer.from(pem), MOST_CERTIFICATES);
  if (leaf === undefined) return [];
  const looks = Object.entries(snapshot.listeners).flatMap(([listener, { realms }]) => realms.map(({ name, anchors, intermediates }) => {
    const about = `listener ${listener}${name === '' ? '' : `, ${name}`}, client ${formatName(leaf.subject)}`;
    const roots = anchors.map(parseCertificate);
    const verdict = validatePath(leaf, createPool(roots, [...intermediates.map(parseCertificate), ...chain]), { now, purpose: 'client' });
    return { listener, name, about, roots, verdict };
  }));
  const taken = looks.filter(({ verdict }) => verdict.kind === 'valid');
  return [
    ...looks.map(({ about, roots, verdict }) => {
      if (verdict.kind === 'valid') return good(about, `its path ends at ${formatName((verdict.path.at(-1) ?? leaf).subject)}`);
      const detail = `${verdict.reason}: ${verdict.detail}; trusted here: ${roots.map(({ subject }) => formatName(subject)).join(' | ')}`;
      // Operators, or devices, may have a CA and a listener of their own.
      return taken.length > 0 ? unknown(about, `${detail}; another listener trusts it`, 'name its root in client_auth.trust, if it is meant for this one too') : bad(about, detail, REMEDIES[verdict.reason] ?? REMEDIES['*'] ?? '');
    }),
    ...await standing(snapshot, taken, [leaf, ...chain], now),
  ];
}

/** Whether it is let in where its path is good: status, and a role. */
async function standing(snapshot: Snapshot, taken: readonly { readonly listener: string; readonly name: string; readonly about: string }[], chain: readonly Certificate[], now: number): Promise<readonly Finding[]> {
  const { admin, listeners } = snapshot.config;
  // Operators have roles of their own.
  const look = taken.find(({ listener }) => listener !== admin.listener);
  const config = listeners.find((one) => one.name === look?.listener);
  if (look === undefined || config === undefined || config.protocol === 'redirect') return [];
  const alone = await openAlone(snapshot, { now: () => now });
  try {
    const admission = await alone.admit(config, chain.map(({ der }) => der), look.name);
    if (admission.kind === 'refused') return [bad(look.about, `${admission.reason}: ${admission.detail}`, REMEDIES[admission.reason] ?? REMEDIES['*'] ?? '')];
    if (admission.kind !== 'known' || admission.identity !== undefined) return [];
    // Operators are nobody to the clients' listeners.
    const { identity: operator } = identify(admission, compileRoles(operatorsConfig(snapshot.config), snapshot.authorities));
    return [operator === undefined ? bad(look.about, NO_ROLE, 'every route denies it: add what it carries to roles, or take another certificate; wardgate explain --cert tells what each role asks for') : good(look.about, `${NO_ROLE}; it is an operator's (${operator.role})`)];
  } finally {
    await alone.close();
  }
}
