/** What one patient's client may reach in a FHIR R4 interface. */
export interface Compartment {
  /** The patient's logical id. */
  readonly patient: string;
  /** The host of the request, and the path of the interface on it without a slash at its end: where absolute references may lead. */
  readonly host: string;
  readonly base: string;
  /** Further bases of absolute references that are this interface, as HOST[:PORT]/PATH. */
  readonly bases: readonly string[];
  /** Types of resources that are everybody's. */
  readonly shared: ReadonlySet<string>;
  /** Whether elements of what is answered may have been left out, because that was asked for. */
  readonly partial?: boolean;
}

/** Why something is outside of a patient's compartment, or cannot be shown to be within. */
export interface Objection {
  readonly kind: 'objection';
  readonly reason: 'patient_mismatch' | 'patient_missing' | 'patient_unknown_shape';
  readonly detail: string;
}

export function mismatch(detail: string): Objection {
  return { kind: 'objection', reason: 'patient_mismatch', detail };
}

export function missing(detail: string): Objection {
  return { kind: 'objection', reason: 'patient_missing', detail };
}

export function unknownShape(detail: string): Objection {
  return { kind: 'objection', reason: 'patient_unknown_shape', detail };
}

/** A text from outside as it goes on record: short, and on one line. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** The elements that say whom a resource is about: FHIR's definition lists those beside them that had a part in it. Searches call them by the same names. */
export const ABOUT: ReadonlySet<string> = new Set(['subject', 'patient', 'beneficiary', 'candidate', 'individual']);

/** The logical id of a resource (FHIR R4, datatypes, id). */
export const ID = /^[A-Za-z0-9\-.]{1,64}$/;

/** What may name a patient: `Patient/1`, `…/Patient?identifier=`, in any case, encoded in part or not. */
const MENTION = /patient(?:[/?|#%\\]|$)/i;
const LOCAL = /^Patient\/([A-Za-z0-9\-.]{1,64})(?:\/_history\/[A-Za-z0-9\-.]{1,64})?$/;
const ABSOLUTE = /^https?:\/\/([^/?#@\\]+)((?:\/[^/?#\\]+)*)\/(Patient\/[^?#\\]+)$/;

/**
 * Whom a reference (FHIR R4, references) names: `own` is this patient in one of the spellings that have one reading, `other`
 * whatever else may be a patient, `none` anything that is none.
 */
export function patientOf(reference: string, compartment: Compartment): 'own' | 'other' | 'none' {
  if (!MENTION.test(reference)) return 'none';
  // No address is as long; expressions are not tried on what somebody made for them.
  if (reference.length > 2_048) return 'other';
  const local = LOCAL.exec(reference);
  if (local !== null) return local[1] === compartment.patient ? 'own' : 'other';
  const [, host = '', path = '', rest = ''] = ABSOLUTE.exec(reference) ?? [];
  if (host === '' || !isBase(host.toLowerCase(), path, compartment)) return 'other';
  return LOCAL.exec(rest)?.[1] === compartment.patient ? 'own' : 'other';
}

function isBase(host: string, path: string, { host: own, base, bases }: Compartment): boolean {
  if (path === base && host.replace(/:\d+$/, '') === own) return true;
  return bases.includes(`${host}${path}`);
}
