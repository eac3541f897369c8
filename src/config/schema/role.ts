import { idTemplate, name } from '../values.ts';
import { certificateMatch, mapping } from './shapes.ts';

export const role = mapping({
  role: name.describe('Name of the role. Several entries may give the same role.'),
  match: certificateMatch.describe('What the certificate must carry; every part that is named must match.'),
  id: idTemplate.describe('How the identity is named, from the certificate: {subject.CN}, {subject.OID}, {issuer.CN}, {san.dns}, {san.email}, {san.uri}, {san.ip}, {san.upn}, {san.other.OID}, {serial}, {fingerprint}.').default('{subject.CN}'),
});
