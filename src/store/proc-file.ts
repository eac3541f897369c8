import { closeSync, openSync, readSync } from 'node:fs';

/** A file of proc(5) that stays open: it is read most when no file descriptor is left for another. */
export interface ProcFile {
  /** What it says now; undefined where there is no such file. */
  read(): string | undefined;
  close(): void;
}

const MOST_OCTETS = 4096;

/** Opens one; a system without proc(5) says nothing. */
export function openProcFile(path: string): ProcFile {
  const file = tryOpen(path);
  const octets = Buffer.alloc(MOST_OCTETS);
  return {
    read() {
      try {
        return file === undefined ? undefined : octets.toString('latin1', 0, readSync(file, octets, 0, octets.length, 0));
      } catch {
        return undefined;
      }
    },
    close() {
      if (file !== undefined) closeSync(file);
    },
  };
}

function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}
