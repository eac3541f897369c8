import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { REGISTER_FILE, parseCheckpoint } from './checkpoint.ts';
import { readLines } from './lines.ts';

/** Tells whether the register of a directory has a segment as one of the gateway's own; reads what was added to it since it was last asked. */
export function registeredSegments(directory: string): (segment: string) => boolean {
  const own = new Map<string, boolean>();
  let readTo = 0;

  function readOn(): void {
    const file = openSync(join(directory, REGISTER_FILE), 'r');
    try {
      const { size } = fstatSync(file);
      readLines({ file, from: readTo, to: size }, Buffer.alloc(0), (octets, start, end) => {
        readTo += end + 1 - start;
        for (const { segment, state } of parseCheckpoint(octets.toString('utf8', start, end))?.segments ?? []) own.set(segment, state !== 'foreign');
        return true;
      });
    } finally {
      closeSync(file);
    }
  }

  return (segment) => {
    if (!own.has(segment)) readOn();
    return own.get(segment) === true;
  };
}
