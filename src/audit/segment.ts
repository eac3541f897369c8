import { START, follows, leadOf, statedLink, type Link, type Position } from './chain.ts';
import { readLines, type Stretch } from './lines.ts';

/** The first line of a segment. `time` is ISO 8601. */
export interface SegmentHeader {
  readonly time: string;
  readonly event: 'segment';
  readonly result: 'done';
  readonly segment: SegmentName;
}

/** Which segment this is, and what was there before it. */
export interface SegmentName {
  readonly format: 1;
  /** The name of its file. */
  readonly file: string;
  /** SHA-256 of the gateway's public key, base64url. */
  readonly gateway: string;
  /** How often the gateway had been started. */
  readonly start: number;
  /** `main`, or the thread. */
  readonly writer: string;
  /** Segments of this writer before this one. */
  readonly number: number;
  /** The hash of the last checkpoint before: it stands for the ends of all segments up to then. */
  readonly after: string;
}

/** A line that does not follow from the one before: its number in the file (from 1), what it says of itself, what was expected before it. */
export interface Break {
  readonly line: number;
  readonly stated: Link | undefined;
  readonly before: Link;
}

/** How far a segment is whole: `rest` are the octets behind the last line feed, or, after a break, behind the last good line (a part of them). */
export interface Scan {
  readonly at: Position;
  readonly lines: number;
  readonly rest: Buffer;
  readonly broken: Break | undefined;
}

/** Told of each good line: false ends the reading. `octets` from `start` to `end`, the line before it within reach. */
export type EachRecord = (link: Link, octets: Buffer, start: number, end: number) => boolean | void;

/** Follows the chain of a segment from `from` on, which is trusted, to the end of the stretch. */
export function scanSegment(stretch: Stretch, from: Position = START, each?: EachRecord): Scan {
  let before: Link = from;
  let octetsGood = from.octets;
  let lines = 0;
  let broken: Break | undefined;
  const { rest, tooLong } = readLines({ ...stretch, from: stretch.from + from.octets }, leadOf(from), (octets, start, end) => {
    const stated = statedLink(octets, start, end);
    if (stated === undefined || !follows(octets, start, stated, before)) {
      broken = { line: lines + 1, stated: stated === undefined ? undefined : { seq: stated.seq, hash: stated.hash }, before };
      return false;
    }
    before = stated;
    octetsGood += end + 1 - start;
    lines += 1;
    return each?.(stated, octets, start, end) !== false;
  });
  if (tooLong) broken = { line: lines + 1, stated: undefined, before };
  return { at: { seq: before.seq, hash: before.hash, octets: octetsGood }, lines, rest, broken };
}

/** The header of a segment from its first line; undefined when it is none. */
export function parseHeader(line: string): SegmentName | undefined {
  try {
    const { event, segment } = JSON.parse(line) as Partial<SegmentHeader>;
    return event === 'segment' && segment?.format === 1 && typeof segment.file === 'string' ? segment : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a segment has come no further than its header, which is all that stands in it before the register knows it; half a line of that, too. */
export function isHeaderOnly(stretch: Stretch, file: string): boolean {
  let good = true;
  const { at, broken } = scanSegment(stretch, START, (_, octets, start, end) => {
    // One line that holds by itself may say anything.
    good &&= parseHeader(octets.toString('utf8', start, end))?.file === file;
    return good;
  });
  return good && broken === undefined && at.seq <= 0;
}
