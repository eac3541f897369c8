import { z } from 'zod';
import { filePath, idTemplate, name } from '../values.ts';
import { certificateMatch } from './certificate-match.ts';
import { mapping, oneOf } from './shapes.ts';

const adminRole = mapping({
  role: oneOf(['read_only', 'operator']).describe('read_only: may look. operator: may also revoke, suspend, reload, acknowledge and review.'),
  match: certificateMatch.describe('What the certificate must carry; every part that is named must match.'),
  id: idTemplate.describe('How whoever holds it is named in the audit, in the form of roles[].id.').default('{subject.CN}'),
});

export const admin = mapping({
  socket: filePath.describe('Unix socket of the admin interface; absent: admin.sock in the state directory.').exactOptional(),
  listener: name.describe('Name of the https listener that serves the admin API and the console, and nothing else, to those of admin.roles; absent: there is only the socket.').exactOptional(),
  roles: z.array(adminRole, { error: 'expected a list of { role, match, id }' }).describe('Whose certificate may do what on that listener; the first match wins, no match is no access. Roles of the gateway\'s clients mean nothing there.').default([]),
}).describe('The interface that wardgate\'s own commands use, and operators with certificates.').prefault({});
