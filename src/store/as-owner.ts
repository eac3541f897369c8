import { lstatSync, readlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';

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

/** As many as Linux follows. */
const MOST_LINKS = 40;

/**
 * Who a directory belongs to, where this process could become that user: whoever could lead the way to it elsewhere by a link, or the owner of the directory. Undefined where it is not there, and for who is not root. Each part of the way is looked at once: whoever swaps it for something
 * else meanwhile is asked about one of the two, never about the directory of another to which his link leads.
 */
export function ownerOf(directory: string): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const rest = partsOf(resolve(directory));
  let way = '/';
  let at = lstatSync(way);
  for (let links = 0; rest.length > 0;) {
    const part = rest.shift() as string;
    const next = part === '..' ? dirname(way) : join(way, part);
    const found = lstatSync(next, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    if (found.isSymbolicLink()) {
      // In the place of root's link the owner of the directory that it is in can put one of his own.
      const holder = found.uid === 0 ? at : found;
      if (holder.uid !== 0 || (links += 1) > MOST_LINKS) return known(holder.uid, holder.gid);
      const target = readlinkSync(next);
      rest.unshift(...partsOf(target));
      if (!target.startsWith('/')) continue;
      way = '/';
      at = lstatSync(way);
    } else {
      way = next;
      at = found;
    }
  }
  return known(at.uid, at.gid);
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
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
