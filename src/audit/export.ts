import { START, statedLink } from './chain.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { SEGMENT_LINE, pickedLine, type Evidence, type ExportHead } from './evidence.ts';
import { filterText, matches, type RecordFilter } from './filter.ts';
import { atOnce, segmentPieces } from './pieces.ts';
import { openedAt } from './segment-file.ts';
import { buildTree, type Tree } from './tree.ts';

export type { RecordFilter as ExportFilter } from './filter.ts';

/** Some octets of an export, and which part of it they belong to: its head, the register, or a segment. */
export interface ExportPiece {
  readonly part: string;
  readonly octets: Buffer;
  /** Records in it. */
  readonly records: number;
}

/** What the register says of a segment that an export needs: when it had ended (ms since the epoch), and the root of its tree with the number of its lines. */
interface Known {
  readonly endedAt?: number;
  readonly tree?: { readonly root: string; readonly leaves: number };
}

/** How far clocks may have been set back within a segment. */
const CLOCK_MS = 86_400_000;

/** The octets of an export (exportPieces). */
export function* exportAudit(evidence: Evidence, filter: RecordFilter, now: number): Generator<Buffer> {
  for (const { octets } of exportPieces(evidence, filter, { now })) yield octets;
}

/**
 * An export in pieces: its head with the public key, the register, then whole segments; or with a filter single records, each with its segment, the hash of
 * the record before it and, from closed segments, the proof that it stands there, and then the checkpoints that these need. `now` in milliseconds. What is there is exported as it is: verifying is another thing.
 */
export function* exportPieces(evidence: Evidence, filter: RecordFilter, { now, seal }: { readonly now: number; readonly seal?: ExportHead['seal'] }): Generator<ExportPiece> {
  const asked = filterText(filter);
  const some = Object.keys(asked).length > 0;
  const key = evidence.key;
  const head: ExportHead = {
    event: 'export', format: 1, time: new Date(now).toISOString(), ...(key === undefined ? {} : { key }), ...(some ? { filter: asked, register: 'partial' } : {}), ...(seal === undefined ? {} : { seal }),
  };
  yield { part: 'head', octets: Buffer.from(`${JSON.stringify(head)}\n`), records: 0 };
  const known = new Map<string, Known>();
  if (some) yield* someRecords(evidence, filter, known);
  else yield* everything(evidence, known);
}

function* everything(evidence: Evidence, known: Map<string, Known>): Generator<ExportPiece> {
  const all = evidence.registerPieces((line) => {
    learn(known, line);
    return true;
  });
  for (const octets of all) yield { part: 'register', octets, records: 0 };
  // One that was opened since is of no use without a checkpoint.
  for (const name of evidence.segments) if (known.has(name)) yield* wholeSegment(evidence, name);
}

/** The records, and behind them the checkpoints that they need: all of the register may be years of it. */
function* someRecords(evidence: Evidence, filter: RecordFilter, known: Map<string, Known>): Generator<ExportPiece> {
  let last: string | undefined;
  for (const _ of evidence.registerPieces((line) => {
    learn(known, line);
    last = line;
    return false;
  }));
  const chosen = new Set<string>();
  for (const name of evidence.segments) {
    const segment = known.get(name);
    if (segment === undefined || !mayHold(name, segment, filter)) continue;
    for (const piece of picked(evidence, name, filter, segment)) {
      chosen.add(name);
      yield piece;
    }
  }
  const needed = evidence.registerPieces((line) => line === last || isNeeded(line, chosen, known));
  for (const octets of needed) yield { part: 'register', octets, records: 0 };
}

/** A closed segment needs the checkpoint with its tree, an open one all that speak of it. */
function isNeeded(line: string, chosen: ReadonlySet<string>, known: ReadonlyMap<string, Known>): boolean {
  return parseCheckpoint(line)?.segments.some(({ segment, tree }) => chosen.has(segment) && (tree !== undefined || known.get(segment)?.tree === undefined)) === true;
}

function learn(known: Map<string, Known>, line: string): void {
  const checkpoint = parseCheckpoint(line);
  for (const { segment, state, tree, seq } of checkpoint?.segments ?? []) {
    const before = known.get(segment);
    const endedAt = state === 'open' ? undefined : before?.endedAt ?? Date.parse(checkpoint?.time ?? '');
    known.set(segment, { ...(endedAt === undefined ? {} : { endedAt }), ...(tree === undefined ? {} : { tree: { root: tree, leaves: seq + 1 } }) });
  }
}

/** Whether anything in a segment can be of the time that was asked for: years of segments need not be read for a day. */
export function mayHold(name: string, { endedAt }: Pick<Known, 'endedAt'>, { from, to }: RecordFilter): boolean {
  const opened = openedAt(name);
  return !(from !== undefined && endedAt !== undefined && endedAt + CLOCK_MS < from) && !(to !== undefined && opened !== undefined && opened - CLOCK_MS > to);
}

function* wholeSegment(evidence: Evidence, name: string): Generator<ExportPiece> {
  yield { part: name, octets: Buffer.from(`${SEGMENT_LINE}${JSON.stringify(name)}}\n`), records: 0 };
  // Its header is no record.
  let lines = -1;
  yield* inPieces(evidence, name, (octets, start, end) => {
    lines += 1;
    return { line: Buffer.from(octets.subarray(start, end + 1)), record: lines > 0 };
  });
}

function* picked(evidence: Evidence, name: string, filter: RecordFilter, { tree: signed }: Known): Generator<ExportPiece> {
  const meant = new Set<number>();
  for (const _ of segmentPieces(evidence, name, (octets, start, end) => {
    const stated = statedLink(octets, start, end);
    if (stated !== undefined && matches(octets.toString('utf8', start, end), filter)) meant.add(stated.seq);
  }));
  if (meant.size === 0) return;
  const tree = signed === undefined ? undefined : treeUnder(evidence, name, signed.root);
  let previous = START.hash;
  yield* inPieces(evidence, name, (octets, start, end) => {
    const stated = statedLink(octets, start, end);
    const before = previous;
    if (stated === undefined) return undefined;
    previous = stated.hash;
    if (!meant.has(stated.seq)) return undefined;
    return { line: Buffer.from(`${pickedLine(name, before, octets.toString('utf8', start, end), tree?.proof(stated.seq))}\n`), record: true };
  });
}

/** The tree that was signed; undefined where the segment is not what it was. */
function treeUnder(evidence: Evidence, name: string, root: string): Tree | undefined {
  const tree = atOnce(buildTree(evidence, name));
  return tree?.root === root ? tree : undefined;
}

interface MadeLine {
  readonly line: Buffer;
  readonly record: boolean;
}

/** What is made of each line of a segment. */
function* inPieces(evidence: Evidence, name: string, make: (octets: Buffer, start: number, end: number) => MadeLine | undefined): Generator<ExportPiece> {
  let made: MadeLine[] = [];
  for (const _ of segmentPieces(evidence, name, (octets, start, end) => {
    const one = make(octets, start, end);
    if (one !== undefined) made.push(one);
  })) {
    if (made.length > 0) yield { part: name, octets: Buffer.concat(made.map(({ line }) => line)), records: made.filter(({ record }) => record).length };
    made = [];
  }
}
