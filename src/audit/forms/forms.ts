import { createMask, type MaskRules } from '../masking.ts';
import type { MaskKey } from '../pseudonyms.ts';
import type { AuditRecord } from '../record.ts';
import { cefForm } from './cef.ts';
import { dicomForm } from './dicom.ts';
import { fhirForm, type AuditEvent } from './fhir.ts';
import { jsonForm } from './json.ts';
import type { MaskedRecord, PlacedRecord, Reporter } from './masked-record.ts';

export interface FormsOptions {
  readonly rules: MaskRules;
  readonly key: () => MaskKey;
  readonly reporter: Reporter;
}

/** The forms in which records leave the audit, masked. Undefined: the form has nothing for this one, such as the header of a segment. */
export interface Forms {
  /** One line without its line feed. */
  json(placed: PlacedRecord): string | undefined;
  /** FHIR R4, after IHE BALP. */
  fhir(placed: PlacedRecord): AuditEvent | undefined;
  /** DICOM PS3.15 A.5, in one line. */
  dicom(placed: PlacedRecord): string | undefined;
  cef(placed: PlacedRecord): string | undefined;
}

export function createForms({ rules, key, reporter }: FormsOptions): Forms {
  const mask = createMask(rules, key);
  const form = <Form>(make: (masked: MaskedRecord) => Form) => ({ record, segment, seq }: PlacedRecord): Form | undefined => {
    if (!isRecord(record)) return undefined;
    try {
      return make({ record: mask(record), segment, seq, reporter });
    } catch {
      // Nothing that a gateway writes; tried again for ever it would keep all that follows from everybody.
      return make({ record: unfit(record), segment, seq, reporter });
    }
  };
  return { json: form(jsonForm), fhir: form(fhirForm), dicom: form(dicomForm), cef: form(cefForm) };
}

/** What stands in its place for a record that a form cannot hold. */
function unfit({ time }: AuditRecord): AuditRecord {
  return { time: Number.isNaN(Date.parse(time)) ? new Date(0).toISOString() : time, event: 'audit', result: 'failed', detail: 'the record cannot be put into this form: the audit itself holds what stands there' };
}

/** The first line of a segment is none. */
function isRecord({ event }: { readonly event: string }): boolean {
  return event !== 'segment';
}
