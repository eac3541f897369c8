import type { AuditRecord } from '../record.ts';

/** A record and where it stands: the name of its segment's file, and its number there. */
export interface PlacedRecord {
  readonly record: AuditRecord;
  readonly segment: string;
  readonly seq: number;
}

/** Who reports. */
export interface Reporter {
  /** Name of the gateway. */
  readonly name: string;
  readonly version: string;
  /** Whose gateway it is. */
  readonly site?: string;
}

/** A masked record, on its way into a form. The forms see nothing else, so that none can let out what the mask took. */
export interface MaskedRecord extends PlacedRecord {
  readonly reporter: Reporter;
}
