import { createPublicKey, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { digestOf, canonical } from './canonical.ts';
import { record, type Ground, type RequestRow } from './ground.ts';
import { hashFor, type CaEvent } from './ledger.ts';
import type { By } from './office-types.ts';
import { OfficeError } from './office-error.ts';

/**
 * Events that the issuing key itself has signed: what nobody writes who has the files of the CA and not its passphrase. Needs the passphrase, as the public keys are
 * those of the private keys that it opens; a certificate in the database could be anybody's. Oldest first; of a request, or of the CA.
 */
export function sealedEvents(ground: Ground, steps: readonly CaEvent['step'][], request: string | null): readonly CaEvent[] {
  const rows = ground.ledger.database.prepare('SELECT line, hash, seal, sealer FROM event WHERE request IS ? AND seal IS NOT NULL ORDER BY seq').all(request);
  return rows.flatMap(({ line, hash, seal, sealer }) => {
    const event = JSON.parse(line as string) as Omit<CaEvent, 'hash' | 'sealed'>;
    if (!steps.includes(event.step) || (event.request ?? null) !== request || digestOf(line as string) !== hash) return [];
    const key = sealingKey(ground, Number(sealer));
    const signed = key !== undefined && verify(hashFor(key), Buffer.from(hash), key, seal as Uint8Array);
    return signed ? [{ ...event, hash, sealed: true }] : [];
  });
}

/** Undefined where there is no key file of that generation any more, or the passphrase opens it not: then it vouches for nothing. */
function sealingKey(ground: Ground, generation: number): KeyObject | undefined {
  try {
    return createPublicKey(ground.key(generation));
  } catch (error) {
    if (error instanceof OfficeError && error.code === 'locked') throw error;
    return undefined;
  }
}

/** Whether the certificate of a request was issued by this CA for exactly that request, and is the one with this SHA-256. */
export function isIssuedFor(ground: Ground, { body }: Pick<RequestRow, 'body'>, sha256: string): boolean {
  const digest = digestOf(canonical({ ...body }));
  return sealedEvents(ground, ['issue'], body.id).some(({ detail }) => detail['sha256'] === sha256 && detail['digest'] === digest);
}

/** Whether somebody with the passphrase has taken policy.yaml as it is: when the CA was made, or since. */
export function isPolicyAccepted(ground: Ground): boolean {
  return sealedEvents(ground, ['init', 'policy'], null).at(-1)?.detail['policy'] === ground.policyDigest;
}

/** Takes policy.yaml as it is. Throws an OfficeError without the passphrase. */
export function acceptPolicy(ground: Ground, by: By): CaEvent {
  if (ground.sealer() === undefined) throw new OfficeError('locked', 'this needs the key of the issuing CA: give its passphrase');
  return ground.ledger.change(() => record(ground, 'policy', { ...by, detail: { policy: ground.policyDigest } }));
}

/** Whoever can write to the directory could make himself an approver there: what nobody with the passphrase has seen is not the policy. */
export function refuseUnacceptedPolicy(ground: Ground): void {
  if (isPolicyAccepted(ground)) return;
  throw new OfficeError('not_authorized', `policy.yaml was changed since it was last accepted (SHA-256 ${ground.policyDigest}); read it, then wardgate ca policy --accept`);
}
