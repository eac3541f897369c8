import { LRUCache } from 'lru-cache';
import type { ThreadMetrics } from './admin/metrics.ts';
import type { Admission } from './policy/facts.ts';
import type { Witness } from './thread-protocol.ts';
import type { Connection } from './tls/connection.ts';

/** What OpenSSL says of a client that brought no intermediates, and of an anchor that is not a root: no disagreement. */
const LACKS_ISSUER = new Set(['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY']);

/**
 * The witness holds our verdict about a path against OpenSSL's, which knows nothing of revocation and of intermediates that the
 * client did not bring. Every disagreement is counted; of a certificate `tell` is told once.
 */
export function createWitness(metrics: ThreadMetrics, tell: (witness: Witness) => void): (connection: Connection, admission: Admission) => void {
  const told = new LRUCache<string, true>({ max: 1_000 });
  return (connection, admission) => {
    const ours = admission.kind === 'known' ? 'admitted' : admission.kind === 'refused' && admission.path === undefined ? admission.reason : undefined;
    if (ours === undefined || (ours === 'admitted') === connection.socket.authorized) return;
    const theirs = connection.socket.authorized ? 'authorized' : String(connection.socket.authorizationError);
    if (LACKS_ISSUER.has(theirs)) return;
    metrics.witnessDisagreements.inc({ verdict: ours === 'admitted' ? 'admitted' : 'refused' });
    if (admission.kind === 'anonymous' || admission.leaf === undefined || told.has(admission.leaf.sha256)) return;
    told.set(admission.leaf.sha256, true);
    tell({ kind: 'witness', certificate: admission.leaf.sha256, ours, theirs });
  };
}
