import { START, statedLink } from './chain.ts';
import { SEGMENT_LINE, pickedLine, type Evidence, type ExportHead } from './evidence.ts';
import { readLines } from './lines.ts';
import type { AuditRecord } from './record.ts';

/** Which records are exported: all that match everything given. Times in milliseconds since the epoch, `to` not included. */
export interface ExportFilter {
  readonly from?: number;
  readonly to?: number;
  readonly fingerprint?: string;
  readonly serial?: string;
  readonly route?: string;
  readonly patient?: string;
  readonly id?: string;
}

const EQUAL = ['fingerprint', 'serial', 'route', 'patient', 'id'] as const;
const PIECE_OCTETS = 1 << 20;

/**
 * The lines of an export, in pieces: its head, the register and the public key, then whole segments, or with a filter single records, each with its segment
 * and the hash of the record before it. `now` in milliseconds. What is there is exported as it is: verifying is another thing.
 */
export function* exportAudit(evidence: Evidence, filter: ExportFilter, now: number): Generator<Buffer> {
  const asked = Object.entries(filter).map(([name, value]) => [name, typeof value === 'number' ? new Date(value).toISOString() : String(value)] as const);
  const key = evidence.key;
  const head: ExportHead = {
    event: 'export', format: 1, time: new Date(now).toISOString(), ...(key === undefined ? {} : { key }), ...(asked.length === 0 ? {} : { filter: Object.fromEntries(asked) }),
  };
  const known = new Set<string>();
  const register: string[] = [`${JSON.stringify(head)}\n`];
  evidence.register((line) => {
    register.push(`${line}\n`);
    for (const name of segmentsOf(line)) known.add(name);
  });
  yield Buffer.from(register.join(''));
  // One that was opened since is of no use without a checkpoint.
  for (const name of evidence.segments.filter((segment) => known.has(segment))) yield* asked.length === 0 ? wholeSegment(evidence, name) : picked(evidence, name, filter);
}

function segmentsOf(line: string): readonly string[] {
  try {
    return (JSON.parse(line) as { segments: readonly { segment: string }[] }).segments.map(({ segment }) => segment);
  } catch {
    return [];
  }
}

function* wholeSegment(evidence: Evidence, name: string): Generator<Buffer> {
  yield Buffer.from(`${SEGMENT_LINE}${JSON.stringify(name)}}\n`);
  yield* inPieces(evidence, name, (octets, start, end) => Buffer.from(octets.subarray(start, end + 1)));
}

function* picked(evidence: Evidence, name: string, filter: ExportFilter): Generator<Buffer> {
  let previous = START.hash;
  yield* inPieces(evidence, name, (octets, start, end) => {
    const stated = statedLink(octets, start, end);
    const before = previous;
    if (stated === undefined) return undefined;
    previous = stated.hash;
    const text = octets.toString('utf8', start, end);
    return matches(text, filter) ? Buffer.from(`${pickedLine(name, before, text)}\n`) : undefined;
  });
}

/** What is made of each line of a segment, a piece of it at a time: a segment may be larger than the memory. */
function* inPieces(evidence: Evidence, name: string, make: (octets: Buffer, start: number, end: number) => Buffer | undefined): Generator<Buffer> {
  for (let from = 0, more = true; more;) {
    more = false;
    const made: Buffer[] = [];
    let read = 0;
    evidence.read(name, (stretch) => readLines({ ...stretch, from: stretch.from + from }, Buffer.alloc(0), (octets, start, end) => {
      const one = make(octets, start, end);
      if (one !== undefined) made.push(one);
      read += end + 1 - start;
      more = read >= PIECE_OCTETS;
      return !more;
    }));
    from += read;
    if (made.length > 0) yield Buffer.concat(made);
  }
}

function matches(text: string, filter: ExportFilter): boolean {
  let record: Partial<AuditRecord>;
  try {
    record = JSON.parse(text) as Partial<AuditRecord>;
  } catch {
    return false;
  }
  const time = Date.parse(record.time ?? '');
  if (filter.from !== undefined && !(time >= filter.from)) return false;
  if (filter.to !== undefined && !(time < filter.to)) return false;
  return EQUAL.every((name) => filter[name] === undefined || filter[name] === record[name]);
}
