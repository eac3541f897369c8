import { closeSync, constants, fchownSync, fstatSync, openSync, readdirSync, statSync } from 'node:fs';

/**
 * Runs something as whoever owns a directory, where root asks: what root does by name in somebody else's directory he could have led
 * anywhere by a link. Synchronous: what is awaited in it would be done as root again.
 */
export function asOwnerOf<Result>(directory: string, act: () => Result): Result {
  const { uid, gid } = statSync(directory);
  if (process.getuid?.() !== 0 || process.geteuid?.() !== 0 || uid === 0) return act();
  const groups = process.getgroups?.() ?? [];
  const group = process.getegid?.() ?? 0;
  process.setgroups?.([gid]);
  process.setegid?.(gid);
  process.seteuid?.(uid);
  try {
    return act();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(group);
    process.setgroups?.(groups);
  }
}

/**
 * Gives all that root has written in a directory to its owner. By descriptors, no link followed and no file that has another name: the
 * owner could put the way to any file of the system in the place of one of ours.
 */
export function giveToOwner(directory: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(directory);
  if (uid === 0) return;
  const give = (path: string, more: number): void => {
    const file = opened(path, more);
    if (file === undefined) return;
    try {
      const stats = fstatSync(file);
      const inside = `/proc/self/fd/${file}`;
      if (stats.isDirectory()) for (const name of readdirSync(inside)) give(`${inside}/${name}`, constants.O_NOFOLLOW);
      if (stats.uid === 0 && (stats.isDirectory() || (stats.isFile() && stats.nlink === 1))) fchownSync(file, uid, gid);
    } finally {
      closeSync(file);
    }
  };
  give(directory, 0);
}

/** Undefined for a link, a socket, and what has gone meanwhile. */
function opened(path: string, more: number): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | more);
  } catch {
    return undefined;
  }
}
