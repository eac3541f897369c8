import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { digest } from './chain.ts';

/** How far a consumer of the feed has come: what it has is safe with it. */
export interface FeedPosition {
  /** Of the consumer. */
  readonly name: string;
  /** Octets of segments that it has a part of. */
  readonly segments: ReadonlyMap<string, number>;
  /** Segments that it has whole. */
  readonly done: ReadonlySet<string>;
}

/** A position that outlives the process. */
export interface DurablePosition extends FeedPosition {
  /** A kill finds it as it is when this returns; a loss of power as it was a second ago at most. */
  advance(segments: Iterable<readonly [segment: string, octets: number]>, done?: Iterable<string>): void;
  /** Forgets segments that are not there any more. */
  keepOnly(segments: ReadonlySet<string>): void;
  /** On the disk when it returns. */
  close(): void;
}

/** Where the positions of a gateway lie. */
export function feedDirectory(state: string): string {
  return join(state, 'feed');
}

const SUFFIX = '.json';
/** Beside it, what has come since it was written: small, and written in place. */
const RECENT = '.now';
const DURABLE_EVERY_MS = 1_000;

interface Written {
  readonly format: 1;
  readonly name: string;
  readonly segments: Readonly<Record<string, number>>;
  readonly done: readonly string[];
}

/** The positions of all consumers there have ever been, those that are no longer configured, too; safe beside a running gateway. */
export function readPositions(directory: string): readonly FeedPosition[] {
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.filter((file) => file.endsWith(SUFFIX)).sort().flatMap((file) => {
    const position = readPosition(directory, basename(file, SUFFIX));
    return position === undefined ? [] : [position];
  });
}

/** Whether a consumer has all of a segment that is `octets` long (as it was written, before any compression). */
export function hasPassed({ segments, done }: FeedPosition, segment: string, octets: number): boolean {
  return done.has(segment) || (segments.get(segment) ?? 0) >= octets;
}

/** Takes the position of a consumer away for good; false when there is none. */
export function forgetPosition(directory: string, name: string): boolean {
  const known = readPositions(directory).some((position) => position.name === name);
  rmSync(join(directory, `${name}${SUFFIX}`), { force: true });
  rmSync(join(directory, `${name}${RECENT}`), { force: true });
  return known;
}

/** Sees to it that a consumer has a position, on the disk when this returns; one that is new begins as `fresh` says. */
export function beginPosition(directory: string, name: string, fresh: () => Omit<FeedPosition, 'name'>): void {
  if (readPosition(directory, name) !== undefined) return;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeAtOnce(join(directory, `${name}${SUFFIX}`), textOf(name, fresh()));
}

function textOf(name: string, { segments, done }: Omit<FeedPosition, 'name'>): string {
  return `${JSON.stringify({ format: 1, name, segments: Object.fromEntries(segments), done: [...done] } satisfies Written)}\n`;
}

function writeAtOnce(path: string, text: string): void {
  // Not the file that a write under way has open.
  const next = `${path}.whole`;
  writeFileSync(next, text, { mode: 0o600, flush: true });
  renameSync(next, path);
}

/** Opens a position; one that is new begins as `fresh` says. `warn` is told of what cannot be written: it is tried again. */
export function openPosition(directory: string, name: string, fresh: () => Omit<FeedPosition, 'name'>, warn: (detail: string) => void): DurablePosition {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const found = readPosition(directory, name);
  const begin = found ?? fresh();
  const segments = new Map(begin.segments);
  const done = new Set(begin.done);
  const path = join(directory, `${name}${SUFFIX}`);
  const recent = openSync(join(directory, `${name}${RECENT}`), 'a+', 0o600);
  closeSync(recent);
  const inPlace = openSync(join(directory, `${name}${RECENT}`), 'r+', 0o600);
  /** What has changed since the last durable write began, and what that one takes with it. */
  let changed = new Set<string>();
  let taken = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  writeWhole();

  function text(): string {
    return textOf(name, { segments, done });
  }

  function writeRecent(): void {
    const names = [...taken, ...changed];
    const delta = { segments: Object.fromEntries(names.filter((one) => segments.has(one)).map((one) => [one, segments.get(one)])), done: names.filter((one) => done.has(one)) };
    const line = JSON.stringify(delta);
    // One call: a kill comes before or after it.
    writeSync(inPlace, `${digest(line)} ${line}\n`, 0);
  }

  /** Once, before anybody waits for anything: what a fresh consumer begins with must not be taken for another beginning later. */
  function writeWhole(): void {
    writeAtOnce(path, text());
  }

  async function writeDurably(): Promise<void> {
    taken = changed;
    changed = new Set();
    try {
      const handle = await open(`${path}.new`, 'w', 0o600);
      try {
        await handle.writeFile(text());
        await handle.sync();
      } finally {
        await handle.close();
      }
      if (!closed) await rename(`${path}.new`, path);
      taken = new Set();
    } catch (error) {
      changed = new Set([...taken, ...changed]);
      taken = new Set();
      warn(`how far ${name} is could not be written: ${(error as Error).message}`);
    } finally {
      timer = undefined;
      if (changed.size > 0 && !closed) later();
    }
  }

  function later(): void {
    timer ??= setTimeout(() => void writeDurably(), DURABLE_EVERY_MS);
  }

  return {
    name, segments, done,
    advance(further, whole = []) {
      for (const [segment, octets] of further) {
        if (done.has(segment) || octets <= (segments.get(segment) ?? 0)) continue;
        segments.set(segment, octets);
        changed.add(segment);
      }
      for (const segment of whole) {
        if (done.has(segment)) continue;
        done.add(segment);
        segments.delete(segment);
        changed.add(segment);
      }
      if (changed.size === 0) return;
      try {
        writeRecent();
      } catch (error) {
        warn(`how far ${name} is could not be written: ${(error as Error).message}`);
      }
      later();
    },
    keepOnly(there) {
      for (const segment of [...done, ...segments.keys()]) {
        if (there.has(segment)) continue;
        done.delete(segment);
        segments.delete(segment);
      }
    },
    close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      try {
        writeWhole();
      } catch (error) {
        warn(`how far ${name} is could not be written: ${(error as Error).message}`);
      }
      closeSync(inPlace);
    },
  };
}

function readPosition(directory: string, name: string): FeedPosition | undefined {
  const text = read(join(directory, `${name}${SUFFIX}`));
  if (text === undefined) return undefined;
  // One that cannot be read is that of somebody who has nothing yet: what was sent is sent again, and nothing is left out.
  const whole = parse(text);
  const [sum = '', line = ''] = (read(join(directory, `${name}${RECENT}`))?.split('\n')[0] ?? '').split(/ (.*)/s);
  const recent = digest(line) === sum ? parse(line) : undefined;
  const segments = new Map(Object.entries(whole?.segments ?? {}));
  for (const [segment, octets] of Object.entries(recent?.segments ?? {})) segments.set(segment, Math.max(octets, segments.get(segment) ?? 0));
  const done = new Set([...whole?.done ?? [], ...recent?.done ?? []]);
  for (const segment of done) segments.delete(segment);
  return { name, segments, done };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parse(json: string): Pick<Written, 'segments' | 'done'> | undefined {
  try {
    const { segments, done } = JSON.parse(json) as Written;
    const good = Array.isArray(done) && Object.values(segments).every((octets) => Number.isSafeInteger(octets));
    return good ? { segments, done } : undefined;
  } catch {
    return undefined;
  }
}
