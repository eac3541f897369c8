import { resolve } from 'node:path';
import type { Command } from 'commander';
import { become, becomeForGood, ownerOf, type Owner } from '../store/as-owner.ts';
import { readPlaces } from './places.ts';

/** What needs root for something else: files of several users. What they do in the state directory they do as its owner, piece by piece. */
const NEED_ROOT = ['backup create', 'backup restore', 'backup verify', 'backup inspect', 'temporary server'];
/** Named a directory or a file, they leave the state of the configuration alone. */
const ELSEWHERE = ['audit verify', 'audit export'];

/**
 * Before root's command opens a directory of somebody else, the process becomes that user: for good, or where it opens directories of several users until it
 * opens another. Says so, for when something may not be read or written; undefined where nothing had to change.
 */
export function leaveRoot(command: Command): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const name = nameOf(command);
  if (NEED_ROOT.includes(name) || (ELSEWHERE.includes(name) && command.args.length > 0)) return undefined;
  const grounds = groundsOf(name, command.opts());
  const [first] = grounds;
  if (first === undefined || grounds.every(({ uid }) => uid === 0)) return undefined;
  const user = first.name ?? `user ${first.uid}`;
  try {
    if (grounds.every(({ uid }) => uid === first.uid)) becomeForGood(first);
    else become(first);
  } catch (error) {
    throw new Error(`${first.directory} belongs to ${user}, and this process may not become that user (${(error as Error).message}): run the command as that user`, { cause: error });
  }
  return first.uid === 0 ? undefined : `as ${user}, to whom ${first.directory} belongs, and not as root: what the command reads and writes has to be open to that user (docs/operations.md)`;
}

/** `ca issue`. */
function nameOf(command: Command): string {
  const { parent } = command;
  return parent === null || parent.parent === null ? command.name() : `${nameOf(parent)} ${command.name()}`;
}

interface Ground extends Owner {
  readonly directory: string;
}

/** What a command opens, the most important first. What it is going to make is root's. */
function groundsOf(name: string, { dir, root, config }: { readonly dir?: unknown; readonly root?: unknown; readonly config?: unknown }): readonly Ground[] {
  const isCa = name.startsWith('ca ');
  const own = [dir, isCa ? root : undefined].filter((one) => typeof one === 'string').map((one) => {
    const directory = resolve(one);
    return { directory, ...ownerOf(directory) ?? { uid: 0, gid: 0 } };
  });
  const state = typeof config === 'string' ? stateOf(config) : [];
  return isCa ? [...own, ...state] : [...state, ...own];
}

/** None where the configuration cannot be read, which the command says itself, or the directory is not there yet. */
function stateOf(config: string): readonly Ground[] {
  try {
    const { state: directory } = readPlaces(config);
    const owner = ownerOf(directory);
    return owner === undefined ? [] : [{ directory, ...owner }];
  } catch {
    return [];
  }
}
