import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { MaskKey } from './pseudonyms.ts';

/** A key and when it was made, ISO 8601. */
export interface KeptMaskKey extends MaskKey {
  readonly since: string;
}

/** The keys of pseudonyms, as they are in the state directory at the time. */
export interface MaskingKeys {
  /** What pseudonyms are made with now. */
  current(): MaskKey;
}

const FILE = 'masking.key';
const SECRET_OCTETS = 32;
/** How long another process's rotation may go unseen. */
const LOOK_MS = 1_000;

/**
 * Opens the keys of a state directory; the first is made where there is none. Somebody else may rotate or destroy them meanwhile:
 * `current` follows within a second. Throws when the file holds none.
 */
export function openMaskingKeys(state: string, now: () => number): MaskingKeys {
  const file = join(state, FILE);
  if (readMaskingKeys(state).length === 0) first(file, now());
  let known = newestOf(state);
  let stamp = stampOf(file);
  let looked = now();
  return {
    current() {
      const at = now();
      if (at - looked < LOOK_MS && at >= looked) return known;
      looked = at;
      const found = stampOf(file);
      if (found === stamp || found === undefined) return known;
      known = newestOf(state);
      stamp = found;
      return known;
    },
  };
}

/** All keys that have not been destroyed, oldest first; none before there was one. Throws when the file cannot be read. */
export function readMaskingKeys(state: string): readonly KeptMaskKey[] {
  const file = join(state, FILE);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return text.split('\n').filter((line) => line !== '').map(parseKey);
  } catch (error) {
    throw new Error(`${file}: expected one key a line, as the gateway wrote them`, { cause: error });
  }
}

/** Makes a new key, the current one from now on. Those before it stay, so that pseudonyms of before can still be looked up. */
export function rotateMaskingKey(state: string, now: number): KeptMaskKey {
  const next = newKey(now);
  replace(state, (kept) => [...kept, next]);
  return next;
}

/**
 * Destroys keys, and has a new one begin where the current one is among them: nobody can find any more whose the pseudonyms made
 * with them are. `which`: all, or all but the current one. Resolves to the ids of those destroyed.
 */
export function destroyMaskingKeys(state: string, which: 'all' | 'old', now: number): readonly string[] {
  const gone: string[] = [];
  replace(state, (kept) => {
    const lost = which === 'all' ? kept : kept.slice(0, -1);
    gone.push(...lost.map(({ id }) => id));
    return which === 'all' ? [newKey(now)] : kept.slice(-1);
  });
  return gone;
}

function newKey(now: number): KeptMaskKey {
  return { id: randomBytes(4).toString('hex'), secret: randomBytes(SECRET_OCTETS), since: new Date(now).toISOString() };
}

function newestOf(state: string): KeptMaskKey {
  const newest = readMaskingKeys(state).at(-1);
  if (newest === undefined) throw new Error(`${join(state, FILE)}: there is no key in it`);
  return newest;
}

function stampOf(file: string): string | undefined {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : `${stats.ino} ${stats.mtimeNs} ${stats.size}`;
}

function parseKey(line: string): KeptMaskKey {
  const { id, secret, since } = JSON.parse(line) as Record<string, unknown>;
  if (typeof id !== 'string' || !/^[0-9a-f]{8}$/.test(id) || typeof secret !== 'string' || typeof since !== 'string') throw new Error('not a key');
  const octets = Buffer.from(secret, 'base64url');
  if (octets.length !== SECRET_OCTETS) throw new Error('not a key');
  return { id, secret: octets, since };
}

function textOf(keys: readonly KeptMaskKey[]): string {
  return keys.map(({ id, secret, since }) => `${JSON.stringify({ id, since, secret: Buffer.from(secret).toString('base64url') })}\n`).join('');
}

/** Of several processes that find none, one makes it. */
function first(file: string, now: number): void {
  const made = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(made, textOf([newKey(now)]), { flag: 'wx', mode: 0o600, flush: true });
  try {
    linkSync(made, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    unlinkSync(made);
  }
}

/** Whole or not at all, and one at a time: what another destroyed must not come back. What the file was is overwritten. */
function replace(state: string, change: (kept: readonly KeptMaskKey[]) => readonly KeptMaskKey[]): void {
  const file = join(state, FILE);
  const next = `${file}.new`;
  let made: number;
  try {
    made = openSync(next, 'wx', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new Error(`${next} is there: another command is changing the keys, or was killed; then remove it`, { cause: error });
    throw error;
  }
  const before = openIfThere(file);
  try {
    try {
      writeFileSync(made, textOf(change(readMaskingKeys(state))), { flush: true });
    } finally {
      closeSync(made);
    }
    renameSync(next, file);
    if (before !== undefined) overwrite(before);
  } catch (error) {
    removeIfThere(next);
    throw error;
  } finally {
    if (before !== undefined) closeSync(before);
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function overwrite(file: number): void {
  writeSync(file, randomBytes(fstatSync(file).size), 0, undefined, 0);
  fsyncSync(file);
}

function removeIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
