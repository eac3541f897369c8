import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, realpathSync, type Stats } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { BackupError } from './fault.ts';
import { ASIDE, isWithin, RUNS, STAGE, type Manifest } from './manifest.ts';
import { pieces } from './read-file.ts';
import type { Entry, Survey } from './survey.ts';

/** One thing that a restore does; paths are of this machine. */
export type Step =
  | { readonly kind: 'directory'; readonly target: string; readonly entry: Entry }
  | { readonly kind: 'create' | 'replace' | 'merge'; readonly target: string; readonly staged: string; readonly aside: string; readonly entry: Entry }
  | { readonly kind: 'same'; readonly target: string; readonly entry: Entry }
  /** It is of another time than what is restored. */
  | { readonly kind: 'away'; readonly target: string; readonly aside: string };

export interface Plan {
  readonly steps: readonly Step[];
  readonly configuration: string;
  readonly state: string;
  readonly socket: string;
  /** Directories that steps make for themselves. */
  readonly stages: readonly string[];
}

/** Lists whose present lines stay: what was revoked since the backup stays revoked. */
const MERGED = new Set(['denylist.jsonl']);
/** No gateway has these for itself (Filesystem Hierarchy Standard 3.0). */
const SYSTEM = /^\/(?:|bin|boot|dev|etc|home|lib|lib32|lib64|libx32|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var|var\/lib|var\/log|var\/tmp|usr\/local)\/*$/;
/** What of a state directory is this installation's own. */
const KEPT = new Set(['lock', RUNS]);

/**
 * What a restore would do. `root` is put in front of every path; '' for none. `stamp` is part of the names of what is moved aside. Throws a BackupError
 * where a path would lead out of the root, or a directory stands where a file belongs.
 */
export function planRestore({ manifest, entries }: Survey, root: string, stamp: string): Plan {
  const here = (path: string): string => (root === '' ? path : join(root, path));
  const foreign = manifest.owned.find((path) => SYSTEM.test(path));
  // Anybody can make a backup to public keys: what is not in it would be moved away there.
  if (foreign !== undefined) throw new BackupError('unsafe_path', `the backup says that ${foreign} is the gateway's own directory`);
  const owned = manifest.owned.map(here);
  const places = (target: string): { readonly staged: string; readonly aside: string; readonly stage: string } => {
    const home = owned.find((directory) => isWithin(directory, target)) ?? dirname(target);
    const inside = relative(home, target);
    return { stage: join(home, `${STAGE}${stamp}`), staged: join(home, `${STAGE}${stamp}`, inside), aside: join(home, `${ASIDE}${stamp}`, inside) };
  };
  const steps = entries.map((entry): Step => {
    const target = here(`/${entry.name}`);
    if (root !== '') refuseOutside(root, target);
    const there = statOf(target);
    if (entry.kind === 'directory') {
      if (there !== undefined && !there.isDirectory()) throw new BackupError('occupied', `${target}: a directory is to be here, and there is something else`);
      return { kind: 'directory', target, entry };
    }
    if (there?.isDirectory() === true) throw new BackupError('occupied', `${target}: a file is to be here, and there is a directory`);
    const { staged, aside } = places(target);
    if (there === undefined) return { kind: 'create', target, staged, aside, entry };
    if (isSame(target, there, entry)) return { kind: 'same', target, entry };
    const merged = MERGED.has(basename(target)) && dirname(target) === here(manifest.state);
    return { kind: merged ? 'merge' : 'replace', target, staged, aside, entry };
  });
  const wanted = new Set(steps.map(({ target }) => target));
  const kept = keptOf(manifest, here);
  const away = owned.flatMap((directory) => strangers(directory, wanted, kept)).map((target): Step => ({ kind: 'away', target, aside: places(target).aside }));
  const stages = new Set(steps.flatMap((step) => ('staged' in step ? [places(step.target).stage] : [])));
  return { steps: [...steps, ...away], configuration: here(manifest.configuration), state: here(manifest.state), socket: here(manifest.socket), stages: [...stages] };
}

function keptOf({ state, socket, audit }: Manifest, here: (path: string) => string): ReadonlySet<string> {
  // Evidence is never taken away for the lack of it in a backup.
  return new Set([...[...KEPT].map((name) => here(join(state, name))), here(`${state}/lock-journal`), here(socket), ...(audit.segments ? [] : [here(audit.directory)])]);
}

/** Every file of a directory that is neither wanted nor kept. */
function strangers(directory: string, wanted: ReadonlySet<string>, kept: ReadonlySet<string>): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (kept.has(path) || entry.name.startsWith(ASIDE) || entry.name.startsWith(STAGE)) return [];
    if (entry.isDirectory()) return strangers(path, wanted, kept);
    return wanted.has(path) ? [] : [path];
  });
}

/** A link within the root could lead out of it. */
function refuseOutside(root: string, target: string): void {
  let above = dirname(target);
  while (!existsSync(above)) above = dirname(above);
  if (!isWithin(realpathSync(root), realpathSync(above))) throw new BackupError('unsafe_path', `${target}: would lead out of ${root}`);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function isSame(path: string, there: Stats, { size, mode, sha256 }: Entry): boolean {
  if (!there.isFile() || there.size !== size || (there.mode & 0o7777) !== mode) return false;
  const hash = createHash('sha256');
  for (const piece of pieces(path, size)) hash.update(piece);
  return hash.digest('hex') === sha256;
}
