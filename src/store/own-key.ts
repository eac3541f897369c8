import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from './whole-file.ts';

const OCTETS = 32;

/**
 * The key that a gateway makes for itself where none is configured, kept in its state directory: it protects what leaves that
 * directory alone, such as a copy of one file, and nothing against whoever has the whole of it. Throws when the file is not a key.
 */
export function ownKey(state: string): Uint8Array {
  const file = join(state, 'factors.key');
  let key: Buffer | undefined;
  try {
    key = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (key === undefined) return makeKey(file);
  if (key.length !== OCTETS) throw new Error(`${file}: expected ${OCTETS} octets, found ${key.length}`);
  return key;
}

/** Whole or not at all: half a key would be taken for a wrong one at the next start. */
function makeKey(file: string): Uint8Array {
  const key = randomBytes(OCTETS);
  writeWhole(file, key);
  return key;
}
