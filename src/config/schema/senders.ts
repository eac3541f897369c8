import { aeTitle, hl7Name } from '../values.ts';
import { mapping, oneOrMore, patterns, some } from './shapes.ts';

const senderId = patterns.describe('Pattern for the id that the client has from its role, or a list of patterns; case does not count.');
const hl7Names = oneOrMore(hl7Name, 'expected a name as HL7 writes it (no | and ~, separators within as \\T\\), in which * stands for anything, or a list of such names');
const aeTitles = oneOrMore(aeTitle, 'expected an AE title (16 characters at most, no backslash), in which * stands for anything, or a list of such titles');

export const senders = mapping({
  mllp: some(
    mapping({
      id: senderId,
      application: hl7Names.describe('MSH-3, as a message with the usual separators has it; * stands for anything within a component, {id} for the client\'s id; * alone for any field. Case counts. Absent: any.').exactOptional(),
      facility: hl7Names.describe('MSH-4, in the same form.').exactOptional(),
    }).refine(({ application, facility }) => application !== undefined || facility !== undefined, { error: 'expected application, facility or both' }),
    'expected a list of at least one { id, application, facility }',
  ).describe('The listener carries HL7 v2 in MLLP frames, and every message (and batch) must name a sender that an entry for its client allows.').exactOptional(),
  dicom: some(
    mapping({
      id: senderId,
      calling: aeTitles.describe('Calling AE title; * stands for anything, {id} for the client\'s id. Case counts, blanks around it do not.'),
      called: aeTitles.describe('Called AE title, in the same form. Absent: any.').exactOptional(),
    }),
    'expected a list of at least one { id, calling, called }',
  ).describe('The listener carries DICOM, one association a connection, and its AE titles must be those that an entry for its client allows.').exactOptional(),
}).refine((value) => Object.keys(value).length === 1, { error: 'expected exactly one of mllp or dicom' }).meta({ minProperties: 1, maxProperties: 1 });
