import { readSync } from 'node:fs';

/** Reads up to `length` octets from `position` on into `into` at `offset`; how many there were, 0 at the end. */
export type ReadAt = (into: Buffer, offset: number, length: number, position: number) => number;

/** A part of an open file, or of what can be read like one. */
export interface Stretch {
  readonly file: number | ReadAt;
  readonly from: number;
  readonly to: number;
}

/** What is done with each line: its octets lie in `octets` from `start` to `end`, without the line feed, and `lead` octets before it are kept. Stops at false. */
export type EachLine = (octets: Buffer, start: number, end: number) => boolean;

/** Where reading ended: octets behind the last line feed, and whether a line was longer than any record is. */
export interface LinesEnd {
  readonly rest: Buffer;
  readonly tooLong: boolean;
}

const CHUNK = 1 << 20;
/** No record comes near this; a file without line feeds must not fill the memory. */
const MOST_OCTETS = 16 << 20;

/** Reads lines in bounded memory, with the `lead` octets before each (given for the first one) right before it in the buffer. */
export function readLines({ file, from, to }: Stretch, first: Buffer, each: EachLine): LinesEnd {
  const readAt: ReadAt = typeof file === 'number' ? (into, offset, length, position) => readSync(file, into, offset, length, position) : file;
  const lead = first.length;
  let octets = Buffer.allocUnsafeSlow(CHUNK + lead);
  first.copy(octets);
  let start = lead;
  let end = lead;
  let at = from;
  for (;;) {
    const wanted = Math.min(octets.length - end, to - at);
    const read = wanted === 0 ? 0 : readAt(octets, end, wanted, at);
    if (read === 0) return { rest: Buffer.from(octets.subarray(start, end)), tooLong: false };
    let looked = end;
    end += read;
    at += read;
    const filled = octets.subarray(0, end);
    for (;;) {
      const feed = filled.indexOf(10, looked);
      if (feed === -1) break;
      if (!each(octets, start, feed)) return { rest: Buffer.from(octets.subarray(start, end)), tooLong: false };
      start = feed + 1;
      looked = start;
    }
    if (end - start > MOST_OCTETS) return { rest: Buffer.alloc(0), tooLong: true };
    const keep = start - lead;
    const next = end - start > octets.length / 2 ? Buffer.allocUnsafeSlow(octets.length * 2) : octets;
    octets.copy(next, 0, keep, end);
    octets = next;
    end -= keep;
    start = lead;
  }
}
