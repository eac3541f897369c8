import { chmodSync, chownSync, closeSync, existsSync, fchmodSync, fchownSync, fsyncSync, futimesSync, mkdirSync, openSync, renameSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asOwnerOf } from '../store/as-owner.ts';
import { lockState, StateError, type StateLock } from '../store/state-lock.ts';
import { flushDirectory } from '../store/whole-file.ts';
import type { OpenBackup } from './container.ts';
import { BackupError } from './fault.ts';
import type { Plan, Step } from './plan.ts';
import { takeState } from './read-file.ts';
import { unpack, type Entry } from './survey.ts';

type Placed = Extract<Step, { readonly staged: string }>;

/** What was done. */
export interface Restored {
  /** Files that are another user's than in the backup, since only root may give files away. */
  readonly foreign: number;
  /** Lists whose present lines could not be read, and are only in the backup's form now. */
  readonly unmerged: readonly string[];
}

/**
 * Does what a plan says: everything is unpacked beside its place and flushed, then all of it renamed into place, and back if one of that fails. The configuration
 * goes first and comes last: what a power cut leaves half restored does not start. Throws a BackupError, and nothing has changed, when a gateway runs there.
 */
export function restore(backup: OpenBackup, plan: Plan): Restored {
  const made = directories(plan);
  let lock: StateLock | undefined;
  try {
    lock = lockOf(plan.state);
    const staged = stage(backup, plan);
    swap(plan);
    return staged;
  } catch (error) {
    if (lock !== undefined && made.includes(plan.state)) rmSync(join(plan.state, 'lock'), { force: true });
    removeStages(plan);
    for (const directory of made.toReversed()) removeIfEmpty(directory);
    throw error;
  } finally {
    removeStages(plan);
    lock?.release();
  }
}

function lockOf(state: string): StateLock {
  try {
    return asOwnerOf(state, () => lockState(state));
  } catch (error) {
    if (!(error instanceof StateError) || error.code !== 'state_in_use') throw error;
    throw new BackupError('running', `a gateway runs on ${state}: stop it first`, error);
  }
}

function removeStages({ stages }: Plan): void {
  for (const directory of stages) rmSync(directory, { recursive: true, force: true });
}

function directories({ steps, state }: Plan): readonly string[] {
  const made: string[] = [];
  const make = (path: string, mode: number): void => {
    const first = mkdirSync(path, { recursive: true, mode });
    for (let one = path; first !== undefined && one.length >= first.length; one = dirname(one)) made.unshift(one);
  };
  for (const step of steps) {
    if (step.kind === 'directory' && !existsSync(step.target)) {
      make(step.target, 0o700);
      own(step.target, step.entry);
      chmodSync(step.target, step.entry.mode);
    }
  }
  for (const step of steps) if (step.kind === 'create') make(dirname(step.target), 0o700);
  make(state, 0o700);
  return made;
}

function stage(backup: OpenBackup, { steps }: Plan): Restored {
  const placed = new Map(steps.flatMap((step) => ('staged' in step ? [[step.entry.name, step] as const] : [])));
  let foreign = 0;
  const unmerged: string[] = [];
  unpack(backup.chunks(), ({ name }) => {
    const step = placed.get(name);
    if (step === undefined) return undefined;
    mkdirSync(dirname(step.staged), { recursive: true, mode: 0o700 });
    const file = openSync(step.staged, 'wx', 0o600);
    return {
      take: (piece) => write(file, piece),
      end() {
        if (step.kind === 'merge' && !merge(file, step)) unmerged.push(step.target);
        if (!finish(file, step.entry)) foreign += 1;
      },
    };
  });
  return { foreign, unmerged };
}

/** Of every subject the last line counts: those of now are behind those of then. */
function merge(file: number, { target }: Placed): boolean {
  try {
    const { octets } = takeState(target);
    for (const line of octets.toString('utf8').split('\n').slice(0, -1)) JSON.parse(line);
    write(file, octets);
    return true;
  } catch {
    return false;
  }
}

function write(file: number, octets: Buffer): void {
  for (let at = 0; at < octets.length;) at += writeSync(file, octets, at);
}

/** False when it stays the file of who runs this. */
function finish(file: number, { mode, uid, gid, mtime }: Entry): boolean {
  try {
    const isOwn = uid === process.getuid?.() && gid === process.getgid?.();
    if (!isOwn && process.getuid?.() === 0) fchownSync(file, uid, gid);
    fchmodSync(file, mode);
    futimesSync(file, mtime, mtime);
    fsyncSync(file);
    return isOwn || process.getuid?.() === 0;
  } finally {
    closeSync(file);
  }
}

function own(path: string, { uid, gid }: Entry): void {
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
}

function swap({ steps, configuration }: Plan): void {
  const back: (() => void)[] = [];
  const move = (from: string, to: string): void => {
    mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
    renameSync(from, to);
    back.push(() => renameSync(to, from));
  };
  const placed = steps.filter((step): step is Placed => 'staged' in step);
  const isConfiguration = (step: Step): boolean => step.target === configuration;
  try {
    for (const step of [...placed.filter(isConfiguration), ...steps.filter((one) => !isConfiguration(one))]) {
      if (step.kind === 'away' || step.kind === 'replace' || step.kind === 'merge') move(step.target, step.aside);
    }
    for (const step of [...placed.filter((one) => !isConfiguration(one)), ...placed.filter(isConfiguration)]) move(step.staged, step.target);
    for (const directory of new Set(steps.map(({ target }) => dirname(target)))) flushDirectory(directory);
  } catch (error) {
    for (const undo of back.toReversed()) undo();
    throw error;
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody has put something there meanwhile, or it is no more.
  }
}
