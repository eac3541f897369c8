import { realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { show } from './issue.ts';

const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

/**
 * What is doubtful about where a secret lies, beside its own permissions: an owner other than the process's user and root, who can read
 * and replace it, and directories in which anybody can put another file in its place. A symbolic link is followed, and the way to it looked at too.
 */
export async function exposureWarnings(path: string, name: string, owner: number, ownUser: number): Promise<readonly string[]> {
  const foreign = owner === 0 || owner === ownUser ? [] : [`${show(name)} belongs to user ${owner}, who can read and replace it; expected the gateway's own user (${ownUser}) or root`];
  const target = await realpath(path).catch(() => path);
  const directories = new Set([...above(resolve(path)), ...above(target)]);
  const open = await Promise.all([...directories].map(async (directory) => (await replaceable(directory) ? [directory] : [])));
  return [...foreign, ...open.flat().map((directory) => `${show(name)} can be replaced by anybody: others can write to the directory ${show(directory)}; chmod o-w`)];
}

/** The directories above a path, the nearest first. */
function above(path: string): readonly string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...above(parent)];
}

async function replaceable(directory: string): Promise<boolean> {
  const mode = (await stat(directory).catch(() => undefined))?.mode ?? 0;
  // In a sticky directory, such as /tmp, only its owner replaces a file.
  return (mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0;
}
