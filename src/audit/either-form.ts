import type { Evidence } from './evidence.ts';
import { parseRecord, type RecordFilter } from './filter.ts';
import { segmentPieces } from './pieces.ts';

/**
 * A filter by a certificate's fingerprint as one by its number and issuer, which the other form of its signature shares (pki/twin.ts): what its thief did under
 * another fingerprint is meant too. As it was where no record has the fingerprint.
 */
export function inEitherForm(evidence: Evidence, filter: RecordFilter): RecordFilter {
  const { fingerprint, ...rest } = filter;
  if (fingerprint === undefined || rest.serial !== undefined) return filter;
  const known = onRecord(evidence, fingerprint);
  return known === undefined ? filter : { ...rest, ...known };
}

/** The newest segments first: who is asked about was here lately. */
function onRecord(evidence: Evidence, fingerprint: string): Required<Pick<RecordFilter, 'serial' | 'issuer'>> | undefined {
  let known: Required<Pick<RecordFilter, 'serial' | 'issuer'>> | undefined;
  for (const name of evidence.segments.toReversed()) {
    for (const _ of segmentPieces(evidence, name, (octets, start, end) => {
      if (known !== undefined || !octets.subarray(start, end).includes(fingerprint)) return;
      const { fingerprint: own, serial, issuer } = parseRecord(octets.toString('utf8', start, end)) ?? {};
      if (own === fingerprint && serial !== undefined && issuer !== undefined) known = { serial, issuer };
    })) if (known !== undefined) return known;
  }
  return undefined;
}
