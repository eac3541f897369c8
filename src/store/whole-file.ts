import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Writes a whole file, durably: through a new one, so that what stands under the name is never half. */
export function writeWhole(file: string, content: string | Uint8Array, mode: 0o600 | 0o644 = 0o600): void {
  // In a directory of others a name that can be guessed may be theirs already, or a link.
  const fresh = `${file}.${randomBytes(6).toString('hex')}.new`;
  try {
    // To the last octet: a disk that is nearly full takes a part, and says so only when asked for the rest.
    writeFileSync(fresh, content, { flag: 'wx', mode, flush: true });
    renameSync(fresh, file);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  // The name, too: nothing must know of a file that a power cut has taken.
  flushDirectory(dirname(file));
}

/** What was made, renamed or removed in a directory stays so after a power cut. */
export function flushDirectory(directory: string): void {
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
