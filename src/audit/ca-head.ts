import { statSync } from 'node:fs';
import { join } from 'node:path';
import { readLines } from './lines.ts';
import { readSegment, segmentNames } from './segment-file.ts';

/** The last event of a CA that an audit has on record. */
export interface CaHead {
  readonly seq: number;
  /** The first 16 digits of the event's hash. */
  readonly hash: string;
  /** Of the record, ISO 8601. */
  readonly time: string;
}

/** How the record of a step names the event that it is about (`certificateStep`); what people wrote stands behind the colon, and is not looked at. `ca`: the first 16 digits of the SHA-256 of its root. */
export function placeText({ seq, hash }: { readonly seq: number; readonly hash: string }, ca: string): string {
  return `event ${seq} of the CA ${ca}, ${hash.slice(0, 16)}`;
}

const PLACE = /^[^:]*[(; ,]event (\d+) of the CA ([0-9a-f]{16}), ([0-9a-f]{16})\)/;

/** Finds it in an audit directory, whatever is written there meanwhile; undefined where there is no record of that CA. `segments`: of the newest so many. */
export function caHeadIn(directory: string, ca: string, segments = Number.POSITIVE_INFINITY): CaHead | undefined {
  let found: CaHead | undefined;
  const mark = `of the CA ${ca}, `;
  for (const segment of segmentNames(directory).toReversed().slice(0, segments)) {
    // Nothing was written to it since.
    if (found !== undefined && changedAt(join(directory, segment)) < Date.parse(found.time)) continue;
    readSegment(directory, segment, (stretch) => readLines(stretch, Buffer.alloc(0), (octets, start, end) => {
      const line = octets.subarray(start, end);
      if (line.includes(mark)) found = later(found, headOf(line.toString('utf8'), ca));
      return true;
    }));
  }
  return found;
}

function later(one: CaHead | undefined, other: CaHead | undefined): CaHead | undefined {
  return other === undefined || (one !== undefined && one.seq >= other.seq) ? one : other;
}

function headOf(line: string, wanted: string): CaHead | undefined {
  try {
    const { event, detail, time } = JSON.parse(line) as { readonly event?: unknown; readonly detail?: unknown; readonly time?: unknown };
    if ((event !== 'certificate' && event !== 'certificate_request') || typeof detail !== 'string' || typeof time !== 'string') return undefined;
    const [, seq, ca, hash] = PLACE.exec(detail) ?? [];
    return seq === undefined || hash === undefined || ca !== wanted ? undefined : { seq: Number(seq), hash, time };
  } catch {
    // A line that somebody broke: wardgate audit verify says so.
    return undefined;
  }
}

function changedAt(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
}
