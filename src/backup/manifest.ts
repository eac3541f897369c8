import { z } from 'zod';
import { nameFault } from './tar.ts';

/** The first member of every archive; the last one is `SUMS`. */
export const MANIFEST = 'wardgate-backup.json';
export const SUMS = 'SHA256SUMS';
/** What is left of a register whose segments are not in the backup: checkpoints to hold an audit against (`audit verify --anchor`). */
export const REGISTER_COPY = 'register-of-backup.ndjson';
/** Beside what was replaced, where it was moved to; and where it was unpacked before. */
export const ASIDE = '.before-restore-';
export const STAGE = '.restore-';
/** When backups were last made and tested, in the state directory. */
export const RUNS = 'backup';

/** Absolute, and in its shortest form: `/var/../etc` would be another place than it looks like. */
const path = z.string().refine((text) => text.startsWith('/') && nameFault(text.slice(1)) === undefined);

export const manifestSchema = z.strictObject({
  format: z.literal('wardgate-backup-contents'), version: z.literal(1), made: z.iso.datetime(), host: z.string(), wardgate: z.string(),
  /** The configuration file. */
  configuration: path,
  state: path,
  audit: z.strictObject({ directory: path, segments: z.boolean() }),
  /** The admin socket. */
  socket: path,
  /** Directories that are the gateway's own: what is there and not in the backup is of another time. */
  owned: z.array(path),
  /** Files outside the directory of the configuration and those. */
  outside: z.array(path),
});

/** What a backup is of; paths are absolute. */
export type Manifest = z.output<typeof manifestSchema>;

/** Whether a path is a directory, or in it. */
export function isWithin(directory: string, file: string): boolean {
  return file === directory || file.startsWith(directory.endsWith('/') ? directory : `${directory}/`);
}
