import type { Snapshot } from '../../config/snapshot.ts';
import { readBundle } from '../../pki/bundle.ts';
import { parseCertificate } from '../../pki/certificate.ts';
import { formatName } from '../../pki/name.ts';
import { createPool, validatePath } from '../../pki/path.ts';
import { bad, good, type Finding } from './finding.ts';

/** Of a client's chain: more is nobody's. */
const MOST_CERTIFICATES = 10;

/**
 * Whether each listener's trust leads to the client certificate that was given, PEM with its intermediates. A handshake cannot tell: the gateway
 * finishes it and refuses afterwards. Status and roles are for `wardgate explain`.
 */
export function clientFindings({ listeners }: Snapshot, pem: string, now: number): readonly Finding[] {
  const [leaf, ...chain] = readBundle(Buffer.from(pem), MOST_CERTIFICATES);
  if (leaf === undefined) return [];
  return Object.entries(listeners).flatMap(([listener, { realms }]) => realms.map(({ name, anchors, intermediates }) => {
    const about = `listener ${listener}${name === '' ? '' : `, ${name}`}, client ${formatName(leaf.subject)}`;
    const roots = anchors.map(parseCertificate);
    const verdict = validatePath(leaf, createPool(roots, [...intermediates.map(parseCertificate), ...chain]), { now, purpose: 'client' });
    if (verdict.kind === 'valid') return good(about, `its path ends at ${formatName((verdict.path.at(-1) ?? leaf).subject)}`);
    return bad(about, `${verdict.reason}: ${verdict.detail}; trusted here: ${roots.map(({ subject }) => formatName(subject)).join(' | ')}`, 'every request with it is refused: name its root in client_auth.trust, or take another certificate; wardgate explain --cert tells the whole');
  }));
}
