import type { MaskedRecord } from './masked-record.ts';

/**
 * A masked record with the gateway's name and its place in the audit, where the sealed one can be found. Its hash stays there: with
 * those of its neighbours it would tell whoever guesses a masked value that they are right.
 */
export function jsonForm({ record, segment, seq, reporter }: MaskedRecord): string {
  return JSON.stringify({ ...record, gateway: reporter.name, segment, seq });
}
