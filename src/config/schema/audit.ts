import { z } from 'zod';
import { amount, directoryPath, filePath, matching, timeout } from '../values.ts';
import { masking } from './masking.ts';
import { mapping, oneOf } from './shapes.ts';
import { sink, syslogAnchor } from './sinks.ts';

const DAY_MS = 86_400_000;
/** Of a leap year: nothing goes a day early. */
const YEAR_DAYS = 366;
/** 45 CFR 164.316(b)(2)(i): six years from when it was made. */
const LEAST_DAYS = 6 * 365 + 2;

const retention = matching('expected years or days such as 7y or 2557d', /^[1-9]\d{0,5}[yd]$/)
  .transform((text) => Number(text.slice(0, -1)) * (text.endsWith('y') ? YEAR_DAYS : 1) * DAY_MS)
  .refine((milliseconds) => milliseconds >= LEAST_DAYS * DAY_MS, { error: `expected at least 6y: HIPAA has documentation kept for six years (45 CFR 164.316(b)(2)(i)), which are ${LEAST_DAYS} days` });

export const audit = mapping({
  directory: directoryPath.describe('Directory of the audit files; absent: audit in the state directory.').exactOptional(),
  durability: oneOf(['write', 'fsync'])
    .describe('When a record is safe, and the last octets of its answer may leave: once the operating system has it, which a killed process cannot take back, or once it is flushed to the disk, which survives a loss of power.')
    .default('write'),
  failing: oneOf(['refuse', 'serve'])
    .describe('What becomes of requests whose record cannot be written: refused with 503, or served without one on routes that are not phi. What is phi, and every stream, is refused either way.')
    .default('refuse'),
  checkpoint: timeout.describe('How often a signed checkpoint says how far the audit goes, while it grows.').prefault('30s'),
  rotate: mapping({
    size: amount.describe('A segment that has come this far is closed and another one opened; looked at with each checkpoint.').prefault('256MiB'),
    daily: z.boolean({ error: 'expected true or false' }).describe('Closes segments at midnight UTC as well.').default(true),
  }).describe('When segments of the audit are closed.').prefault({}),
  compress: z.boolean({ error: 'expected true or false' }).describe('Compresses closed segments with zstd, once every sink has them.').default(true),
  retention: retention.describe('How long every record is kept, in years or days, six years at least: wardgate audit prune removes nothing younger.').prefault('7y'),
  anchor: mapping({
    file: filePath.describe('A file on other storage, best one that can only be appended to; every checkpoint is added to it.').exactOptional(),
    syslog: syslogAnchor.describe('A receiver of syslog over TLS that gets every checkpoint.').exactOptional(),
  }).describe('Where checkpoints are put outside the audit directory: what they cover cannot be cut off unseen. Absent: nowhere.').exactOptional(),
  masking,
  sinks: z.array(sink, { error: 'expected a list of sinks' }).describe('Who gets the records, masked, each with a position of its own that outlives restarts: a receiver that was away gets what it missed. A reload may change them.').default([]),
}).describe('The record of every decision.').prefault({});
