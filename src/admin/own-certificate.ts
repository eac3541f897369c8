import { z } from 'zod';
import type { Origin } from './call.ts';
import type { IncidentTarget } from './calls/incident.ts';

/** What somebody reads at night whose next call would be refused. */
export const LOCKED_OUT = 'the certificate that this is asked with is among them: you would lose the admin listener at once, and only the command line on the gateway\'s machine would let you in again';

/** A call would cut off who makes it, who has not said that this is meant. */
export class OwnCertificateError extends Error {
  readonly code = 'own_certificate';
}

/** What takes a right away may hit the caller, too. */
export const own = z.literal(true).describe('Do it although it hits the certificate that the call is made with: without this such a call is 409 `own_certificate`.').exactOptional();

/** What is done by one key, and whom of the operators it hits. */
export const doneTo = <Key extends string>(key: Key) => z.strictObject({ [key]: z.boolean(), warnings: z.array(z.string()).describe('Operators who lose the admin listener by it.').exactOptional() });

/**
 * Cuts something off; resolves with what its answer adds. Who would cut off the own certificate is asked first (an OwnCertificateError): afterwards there is
 * nobody who could be asked. On the socket `origin` is undefined: whoever is there stays.
 */
export async function cutOff(incident: Pick<IncidentTarget, 'operatorsHit'>, hit: Parameters<IncidentTarget['operatorsHit']>[0], { meant, origin }: { readonly meant: true | undefined; readonly origin: Origin | undefined }, act: () => Promise<void>): Promise<{ readonly warnings?: readonly string[] }> {
  // Looked for before it is done: then none of them is there any more.
  const found = incident.operatorsHit(hit, origin);
  if (origin !== undefined && meant !== true && (await found).own) throw new OwnCertificateError(`${LOCKED_OUT}; send "own": true where that is meant`);
  await act();
  const { warnings } = await found;
  return warnings.length === 0 ? {} : { warnings };
}
