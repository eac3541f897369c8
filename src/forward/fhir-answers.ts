import { judgeAnswer, judgeBundleMember, judgeEntry } from '../policy/fhir/bundle.ts';
import { patientOf, quoted, unknownShape, type Objection } from '../policy/fhir/compartment.ts';
import { AnswerReader } from '../policy/fhir/json.ts';
import { isJsonBody } from '../policy/fhir/request.ts';
import type { FhirBond } from '../policy/patient.ts';
import type { AnswerFilter } from './answer-filter.ts';

/** Holds the answers of a FHIR interface to the compartment of one patient. */
export function createFhirFilter({ rules, partial, resource }: FhirBond): AnswerFilter {
  const compartment = { ...rules.compartment, partial };
  const reader = new AnswerReader({
    whole: (value) => judgeAnswer(value, compartment),
    member: (name, value) => judgeBundleMember(name, value, compartment),
    entry: (value, index) => judgeEntry(value, index, compartment),
  }, resource);
  let type: string | undefined;
  return {
    begin({ status, fields, length }) {
      for (let index = 0; index < fields.length; index += 2) {
        const name = (fields[index] as string).toLowerCase();
        const value = fields[index + 1] as string;
        const objection = judgeField(name, value);
        if (objection !== undefined) return objection;
        // Twice is none: readers differ in which one counts.
        if (name === 'content-type') type = type === undefined ? value : '';
      }
      // Neither a part of an answer nor the news that it is the same tells whose it is; nobody was asked for either.
      return status === 206 || status === 304 ? unknownShape(`an answer with status ${status}`) : { kind: 'head', fields, length };

      function judgeField(name: string, value: string): Objection | undefined {
        if (name === 'content-encoding' && value.trim().toLowerCase() !== 'identity') return unknownShape(`an answer in the encoding ${quoted(value)}`);
        return addressesIn(name, value).some((address) => patientOf(address, compartment) === 'other') ? { kind: 'objection', reason: 'patient_mismatch', detail: `${name} is ${quoted(value)}` } : undefined;
      }
    },
    read: (octets) => (octets.length === 0 || isJsonBody(type) ? reader.read(octets) : unknownShape(`an answer of the type ${quoted(type ?? '')}: only JSON can be judged`)),
    end: () => reader.end(),
  };
}

/** Where a field of an answer leads: the targets of links (RFC 8288 section 3), or the one address that it is. */
function addressesIn(name: string, value: string): readonly string[] {
  switch (name) {
    case 'location': case 'content-location': return [value];
    case 'link': return [...value.matchAll(/<([^>]*)>/g)].map(([, target = '']) => target);
    default: return [];
  }
}
