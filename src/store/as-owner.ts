import { lstatSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';

/*
 * What root does by name in somebody else's directory he could have led anywhere, by a link: root appends to, empties or gives away a file of
 * the system. So root works in such a directory as its owner.
 */

/** Whoever root is in a directory. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
  /** Absent for one without a line in passwd, as in a container. */
  readonly name?: string;
}

const ROOT: Owner = { uid: 0, gid: 0 };

/**
 * Who a directory belongs to, where this process could become that user: whoever made a link on the way to it, since he leads where he likes, or the owner of
 * the directory. Undefined where it is not there, and for who is not root.
 */
export function ownerOf(directory: string): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (let way = resolve(directory); way !== dirname(way); way = dirname(way)) {
    const found = lstatSync(way, { throwIfNoEntry: false });
    if (found?.isSymbolicLink() === true && found.uid !== 0) return known(found.uid, found.gid);
  }
  const stats = statSync(directory, { throwIfNoEntry: false });
  return stats === undefined ? undefined : known(stats.uid, stats.gid);
}

/** Becomes somebody, and can never be root again. */
export function becomeForGood(owner: Owner): void {
  takeGroups(owner);
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}

/** Becomes somebody until this is called again. */
export function become(owner: Owner): void {
  takeGroups(owner);
  process.setegid?.(owner.gid);
  process.seteuid?.(owner.uid);
}

/**
 * Does something as the owner of a directory, where root asks, and is whoever it was again afterwards. The whole process is that user meanwhile: for commands,
 * which do one thing after the other, and not for the gateway.
 */
export function asOwnerOf<Result>(directory: string, act: () => Result): Result {
  const owner = ownerOf(directory);
  const before = process.geteuid?.();
  if (owner === undefined || before === undefined || owner.uid === before) return act();
  const back = (): void => become(before === 0 ? ROOT : known(before, process.getegid?.() ?? 0));
  become(owner);
  let result: Result;
  try {
    result = act();
  } catch (error) {
    back();
    throw error;
  }
  if (result instanceof Promise) return result.finally(back) as Result;
  back();
  return result;
}

/** With the group that passwd says: that of a file may be one in which its owner is not. */
function known(uid: number, gid: number): Owner {
  if (uid === 0) return ROOT;
  const before = process.geteuid?.() ?? 0;
  process.seteuid?.(0);
  process.seteuid?.(uid);
  try {
    const { username: name, gid: own } = userInfo();
    return { uid, gid: own, name };
  } catch {
    return { uid, gid };
  } finally {
    process.seteuid?.(0);
    process.seteuid?.(before);
  }
}

/** Leaves the process root in effect, as what follows needs. */
function takeGroups({ gid, name }: Owner): void {
  process.seteuid?.(0);
  if (name === undefined) process.setgroups?.([gid]);
  else (process as unknown as { initgroups(user: string, group: number): void }).initgroups(name, gid);
}
