import { z } from 'zod';
import { matching, name, nameAttribute, parameterName } from '../values.ts';
import { mapping, oneOf } from './shapes.ts';

const SHOWN = ['hash', 'last6'] as const;

/** Parameters of FHIR searches whose values say how to answer, not of whom. */
const HARMLESS = ['_contained', '_count', '_elements', '_format', '_include', '_pretty', '_revinclude', '_sort', '_summary', '_total', '_type'] as const;

/** What interfaces call what they have, whatever they are about. */
const KNOWN_SEGMENTS = ['api', 'assets', 'favicon.ico', 'fhir', 'health', 'healthz', 'index.html', 'metadata', 'public', 'ready', 'readyz', 'static', 'status'] as const;

const segment = matching('expected a segment of a path, decoded', /^[^/?#]{1,128}$/);
const identifier = matching('expected text such as P#######, in which # stands for a digit and @ for a letter, with at least two of them', /^(?=(?:[^#@]*[#@]){2})[\x21-\x7e]{2,64}$/);

export const masking = mapping({
  patients: oneOf(SHOWN).describe('How ids of patients are shown: hash is a pseudonym, the same for the same patient until the key is rotated; last6 shows the last six characters of ids of twelve and more, and a pseudonym for shorter ones and for whatever is not known to be the id of the patient.').default('hash'),
  identity_numbers: oneOf(SHOWN).describe('The same for identity numbers, wherever they stand.').default('hash'),
  countries: z.array(oneOf(['cn', 'de', 'uk', 'us']), { error: 'expected a list of cn, de, uk or us' })
    .describe('Whose identity numbers are looked for in every text: China (18 places with their check, and 15), Germany (KVNR), the United Kingdom (NHS), the United States (SSN).').default(['cn', 'de', 'uk', 'us']),
  identifiers: z.array(identifier, { error: 'expected a list of texts such as P#######' })
    .describe('Further numbers that are looked for in every text, as patterns: # stands for a digit, @ for a letter, anything else for itself, in capitals or not. They count as ids of patients.').default([]),
  names: oneOf(['hash', 'hide']).describe('How personal attributes of subjects and ids of clients are shown: as a pseudonym, or not at all.').default('hash'),
  plain_attributes: z.array(nameAttribute, { error: 'expected a list of name attributes' })
    .describe('Attributes of subjects that name no person and stay; all others are personal.').default(['C', 'DC', 'L', 'O', 'OU', 'ST', 'organizationIdentifier']),
  plain_roles: z.array(name, { error: 'expected a list of roles' }).describe('Roles whose ids and subjects name no person, such as those of devices, and stay.').default([]),
  plain_parameters: z.array(parameterName, { error: 'expected a list of names of parameters' })
    .describe('Query parameters whose values identify nobody and stay; of all others a pseudonym does.').default([...HARMLESS]),
  plain_segments: z.array(segment, { error: 'expected a list of segments of paths' })
    .describe('Segments of paths that identify nobody and stay, beside those that stand in the routes\' own paths, FHIR\'s types and operations, and versions such as v1; in place of all others a pseudonym does.').default([...KNOWN_SEGMENTS]),
  text: oneOf(['hide', 'scan']).describe('What becomes of what people wrote (reasons of revocations, suspensions, holds and emergencies, notes of staff, what a sealed case is called): hidden, or shown with what is found in it masked.').default('hide'),
}).describe('What of the audit may leave it: its other forms and alarms are masked by these rules. The audit files themselves hold everything.').prefault({});
