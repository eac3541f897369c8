import { z } from 'zod';
import { filePath, timeZone } from '../values.ts';
import { mapping, oneOf } from './shapes.ts';

export const devices = mapping({
  inventory: filePath.describe('The registered devices: a file .csv, or a list in .yaml or .json; read again when it changes. docs/devices.md has its columns. Absent: those that a webhook tells of.').exactOptional(),
  timezone: timeZone.describe('Time zone (IANA) of hours that name none.').default('UTC'),
}).describe('Registered devices, to which roles can be bound; absent: none.');

const to = oneOf(['device', 'workstation']);
const TO = 'What the certificate of this role must be registered with. device: it is the device\'s own. workstation: it is a person\'s, and is used at one of their workstations.';

/** What a role is bound to. */
export const bind = z.union(
  [
    to.transform((value) => ({ to: value, hardware: 'optional' as const })),
    mapping({
      to: to.describe(TO),
      hardware: oneOf(['optional', 'required'])
        .describe('required: the certificate must name the hardware that its key is in, and the device must be registered with that. optional: only what is named is compared.').default('optional'),
    }),
  ],
  { error: 'expected device, workstation or { to, hardware }' },
).describe(`${TO} State, networks and hours of the device then hold for every request. Every entry of the role says the same. Absent: any place will do.`);
