import { timeout } from '../values.ts';
import { mapping } from './shapes.ts';

export const backup = mapping({
  expected: mapping({
    create: timeout.describe('How often a backup is expected to be made (wardgate backup create), such as 32d for a monthly one.').exactOptional(),
    verify: timeout.describe('How often a restore test is expected (wardgate backup verify), such as 93d for a quarterly one.').exactOptional(),
  }).describe('Runs that are missed when so long has passed since the last one that went well: then the alarm backup_missed is raised, daily until there is one.'),
}).describe('Backups that this gateway expects of others; docs/backup.md. Absent: it expects none.');
