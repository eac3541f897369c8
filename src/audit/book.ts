import type { KeyObject } from 'node:crypto';
import { Found, type BadRecord } from './bad-record.ts';
import type { Link } from './chain.ts';
import { NO_CHECKPOINT, REGISTER_FILE, checkpointHash, isSignedLine, parseCheckpoint, type Checkpoint, type Pruning, type SegmentClaim } from './checkpoint.ts';
import type { Evidence } from './evidence.ts';

/** Claims of a segment that are kept beside the last and the longest: enough to say between which two something happened. */
const MOST_CLAIMS = 2_048;

export interface Claimed {
  /** In order; the last one is always kept. */
  claims: Link[];
  last: SegmentClaim;
  /** That which has seen most: what is shorter was cut off. */
  most: Link;
  /** The number of the last record that an anchored checkpoint has seen; without an anchor, any checkpoint. */
  covered: number;
  /** The root of the tree over all its lines. */
  tree: { readonly root: string; readonly leaves: number } | undefined;
}

export interface Book {
  readonly segments: Map<string, Claimed>;
  readonly checkpoints: number;
  readonly anchored: Checkpoint | undefined;
  readonly start: number;
  /** Segments that were removed when their time was over, in order. */
  readonly prunings: readonly (Pruning & { readonly time: string; readonly segments: number })[];
}

/** Reads the register and holds it against the key and the lines of the anchor. Throws a Found. */
export function readBook(evidence: Evidence, key: KeyObject, anchor: readonly string[] | undefined): Book {
  const segments = new Map<string, Claimed>();
  const outside = new Map((anchor ?? []).map((line) => [checkpointHash(line), line]));
  const numbered = evidence.partial ? signedByNumber(outside, key) : new Map<number, ReadonlySet<string>>();
  const inside = new Set<string>();
  let number = 0;
  /** Of some checkpoints: the number after the last one, and how many were left out before it. */
  let seen = 0;
  let skipped = 0;
  let previous = NO_CHECKPOINT;
  let start = 0;
  let last: string | undefined;
  let anchored: Checkpoint | undefined;
  let bad: BadRecord | undefined;
  const prunings: Book['prunings'][number][] = [];
  const uncovered = new Set<string>();
  evidence.register((line) => {
    if (bad !== undefined) return;
    const at = { file: REGISTER_FILE, line: number + 1, seq: number };
    const checkpoint = parseCheckpoint(line);
    if (checkpoint === undefined) return void (bad = { ...at, kind: 'edited', detail: 'not a checkpoint' });
    if (evidence.partial) {
      if (!isSignedLine(line, key)) return void (bad = { ...at, kind: 'unsigned', detail: 'not signed with this key' });
      if (checkpoint.checkpoint < number) return void (bad = { ...at, kind: 'reordered', detail: `checkpoint ${checkpoint.checkpoint} stands behind a later one` });
      number = checkpoint.checkpoint;
      skipped += number - seen;
      seen = number + 1;
    } else if (checkpoint.checkpoint !== number || checkpoint.previous !== previous) {
      // What the signature still holds for was not changed itself.
      const kind = !isSignedLine(line, key) ? 'edited' : checkpoint.checkpoint > number ? 'removed' : checkpoint.checkpoint < number ? 'reordered' : 'edited';
      return void (bad = { ...at, kind, detail: `checkpoint ${checkpoint.checkpoint} does not follow from the one before it` });
    }
    previous = checkpointHash(line);
    if (numbered.get(checkpoint.checkpoint)?.has(previous) === false) return void (bad = { ...at, kind: 'rewritten', detail: `checkpoint ${checkpoint.checkpoint} is another one than was anchored` });
    if (outside.size > 0) {
      inside.add(previous);
    }
    last = line;
    start = checkpoint.start;
    number += 1;
    if (checkpoint.pruning !== undefined) prunings.push({ ...checkpoint.pruning, time: checkpoint.time, segments: checkpoint.segments.filter(({ state }) => state === 'pruned').length });
    for (const claim of checkpoint.segments) {
      claimed(segments, claim);
      uncovered.add(claim.segment);
    }
    if (anchor !== undefined && !outside.has(previous)) return;
    anchored = anchor === undefined ? undefined : checkpoint;
    for (const name of uncovered) cover(segments.get(name));
    uncovered.clear();
  });
  if (bad !== undefined) throw new Found(bad);
  if (last === undefined) throw new Found({ file: REGISTER_FILE, kind: 'removed', detail: 'there is no register of checkpoints' });
  // The last one stands for all before it.
  if (!isSignedLine(last, key)) throw new Found(firstUnsigned(evidence, key));
  const lost = [...outside].find(([hash]) => !inside.has(hash))?.[1];
  if (lost !== undefined && !evidence.partial) throw new Found(lostCheckpoint(lost, number, key));
  return { segments, checkpoints: number - skipped, anchored, start, prunings };
}

/** The hashes of those that are anchored, by their numbers: of some checkpoints only these show that they are others. */
function signedByNumber(outside: ReadonlyMap<string, string>, key: KeyObject): ReadonlyMap<number, ReadonlySet<string>> {
  const numbered = new Map<number, Set<string>>();
  for (const [hash, line] of outside) {
    const number = isSignedLine(line, key) ? parseCheckpoint(line)?.checkpoint : undefined;
    if (number !== undefined) numbered.set(number, (numbered.get(number) ?? new Set()).add(hash));
  }
  return numbered;
}

function firstUnsigned(evidence: Evidence, key: KeyObject): BadRecord {
  let at = 0;
  let bad: number | undefined;
  evidence.register((line) => {
    if (bad === undefined && !isSignedLine(line, key)) bad = at;
    at += 1;
  });
  return { file: REGISTER_FILE, line: (bad ?? 0) + 1, seq: bad ?? 0, kind: 'unsigned', detail: 'not signed with this key' };
}

function lostCheckpoint(line: string, number: number, key: KeyObject): BadRecord {
  const checkpoint = parseCheckpoint(line);
  if (checkpoint === undefined || !isSignedLine(line, key)) return { file: 'anchor', kind: 'unsigned', detail: `a line of the anchor is no checkpoint signed with this key: ${line.slice(0, 60)}` };
  const gone = checkpoint.checkpoint >= number;
  return {
    file: REGISTER_FILE, seq: checkpoint.checkpoint, kind: gone ? 'truncated' : 'rewritten',
    detail: gone ? `the register ends before checkpoint ${checkpoint.checkpoint} of ${checkpoint.time}, which is anchored` : `checkpoint ${checkpoint.checkpoint} is another one than was anchored`,
  };
}

function claimed(segments: Map<string, Claimed>, claim: SegmentClaim): void {
  const known = segments.get(claim.segment);
  if (known === undefined) return void segments.set(claim.segment, { claims: [claim], last: claim, most: claim, covered: 0, tree: treeOf(claim) });
  known.claims.push(claim);
  known.last = claim;
  if (claim.seq > known.most.seq) known.most = claim;
  known.tree = treeOf(claim);
  if (known.claims.length > MOST_CLAIMS) known.claims = known.claims.filter((one, index) => index % 2 === 0 || index === known.claims.length - 1 || one === known.most);
}

function treeOf({ tree, seq }: SegmentClaim): Claimed['tree'] {
  return tree === undefined ? undefined : { root: tree, leaves: seq + 1 };
}

function cover(known: Claimed | undefined): void {
  if (known !== undefined) known.covered = Math.max(0, known.last.seq);
}
