import { z } from 'zod';
import { filePath, name, timeout } from '../values.ts';
import { mapping, oneOf, oneOrMore, some } from './shapes.ts';

/** Systems that tell the gateway what has changed. */
export const webhooks = z.record(
  name,
  mapping({
    kind: oneOf(['hr', 'cmdb']).describe('What it may tell. hr: that persons leave, return, or change their roles. cmdb: that devices are registered, changed, removed or scrapped.'),
    secrets: oneOrMore(filePath, 'expected a file that holds a secret, or a list of them')
      .describe('Files of at least 32 secret bytes, of which one must have signed each event (two while they change); others must not be able to read them. Absent: the certificate is enough, and the routes ask for one.')
      .exactOptional(),
    tolerance: timeout.describe('How far the time of a signature may be from ours.').prefault('5m'),
    within: some(name, 'expected a list of roles')
      .describe('Roles of those whom it concerns: leaving, returning and scrapping mean certificates that give one of these, and no others. Default: for hr whoever has a first role that neither is bound to a device nor to a patient; for cmdb whoever has a role with bind: device.').exactOptional(),
    roles: some(name, 'expected a list of roles').describe('For hr: roles that it may give, and that whoever changes must have had. Absent: it changes no roles.').exactOptional(),
  }),
  { error: 'expected a mapping of names to { kind, secrets }' },
).describe('Systems that may tell of persons and devices, by the name that routes call them by (webhook); docs/webhooks.md has the form of their events.');
