import { closeSync, openSync } from 'node:fs';

/** How many file descriptors a process may have, from its /proc/self/limits; Infinity where that does not say. */
export function descriptorLimit(limits: string | undefined): number {
  const soft = /^Max open files\s+(\d+)/m.exec(limits ?? '')?.[1];
  return soft === undefined ? Infinity : Number(soft);
}

/** Where many descriptors are in use, how many of the last are left for upstreams, files and threads. */
const RESERVE = { share: 0.1, least: 32, most: 1024 };

/**
 * The first descriptor that no client's connection may have. The system gives out the lowest that is free, so its number tells
 * how many are in use.
 */
export function descriptorMark(limit: number): number {
  return Math.max(0, limit - Math.min(RESERVE.most, Math.max(RESERVE.least, Math.ceil(limit * RESERVE.share))));
}

/** Whether a file descriptor is to be had. Found out by taking one: nothing tells when connections are closed for want of it. */
export function hasDescriptor(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'EMFILE' && code !== 'ENFILE';
  }
}
