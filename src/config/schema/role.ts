import { z } from 'zod';
import { idTemplate, name } from '../values.ts';
import { certificateMatch } from './certificate-match.ts';
import { bind } from './devices.ts';
import { mapping, some } from './shapes.ts';

/** A role that comes with an entry's own. */
const furtherRole = z.union(
  [
    name.transform((role) => ({ role, match: undefined })),
    mapping({
      role: name.describe('Name of the further role.'),
      match: certificateMatch.describe('What the certificate must carry for it, beside what the entry asks.'),
    }),
  ],
  { error: 'expected the name of a role, or { role, match }' },
);

export const role = mapping({
  role: name.describe('Name of the role. Several entries may give the same role.'),
  match: certificateMatch.describe('What the certificate must carry; every part that is named must match.'),
  id: idTemplate.describe('How the identity is named, from the certificate: {subject.CN}, {subject.OID}, {issuer.CN}, {san.dns}, {san.email}, {san.uri}, {san.spiffe}, {san.ip}, {san.upn}, {san.registered_id}, {san.directory.CN}, {san.hardware_module.serial}, {san.hardware_module.type}, {san.permanent_identifier.value}, {san.permanent_identifier.assigner}, {san.other.OID}, {serial}, {fingerprint}.').default('{subject.CN}'),
  also: z.array(furtherRole, { error: 'expected a list of roles' }).describe('Further roles of those whom the entry matches; those with a match of their own only where that holds too.').default([]),
  bind: bind.exactOptional(),
});

export const inherits = z.record(name, some(name, 'expected a list of at least one role'), { error: 'expected a mapping of roles to the roles they inherit' })
  .describe('Roles that others come with: whoever holds the role before the colon holds those behind it, and what these inherit.');
