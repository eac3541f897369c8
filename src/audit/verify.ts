import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { LEAD_OCTETS, START, follows, leadOf, statedLink, type Link } from './chain.ts';
import { NO_CHECKPOINT, REGISTER_FILE, checkpointHash, isSignedCheckpoint, parseCheckpoint, type Checkpoint, type SegmentClaim } from './checkpoint.ts';
import type { Evidence } from './evidence.ts';
import { readPublicKey } from './key.ts';
import { readLines, type Stretch } from './lines.ts';
import { parseHeader, scanSegment, type Break } from './segment.ts';

/**
 * What was done to the first bad record. `rewritten`: it and perhaps others before were changed and their hashes computed anew, which
 * the checkpoint shows. `added`: nobody of ours wrote it. `unsigned`: a checkpoint without the key's signature.
 */
export type Tampering = 'edited' | 'removed' | 'reordered' | 'repeated' | 'added' | 'spliced' | 'truncated' | 'rewritten' | 'unsigned';

/** The first bad record: its line in the file from 1, and the number it has or should have. */
export interface BadRecord {
  readonly file: string;
  readonly line?: number;
  readonly seq?: number;
  readonly kind: Tampering;
  readonly detail: string;
}

/** What verifying found. */
export interface Verdict {
  readonly whole: boolean;
  readonly bad?: BadRecord;
  readonly records: number;
  readonly segments: number;
  readonly checkpoints: number;
  /** The last checkpoint that the anchor holds. */
  readonly anchored?: { readonly checkpoint: number; readonly time: string };
  /** Records that no checkpoint covers yet: their end could have been cut off unseen. */
  readonly unanchored: number;
  /** What the operator should know beside. */
  readonly notes: readonly string[];
}

export interface VerifyOptions {
  readonly evidence: Evidence;
  /** Lines of the anchor file; absent: nothing outside is compared. */
  readonly anchor?: readonly string[];
  /** SPKI, PEM; absent: the key that came along, which proves less. */
  readonly key?: string | undefined;
}

/** Claims of a segment that are kept: enough to say between which two something happened. */
const MOST_CLAIMS = 2_048;

interface Claimed {
  /** In order; the last one is always kept. */
  claims: Link[];
  last: SegmentClaim;
  /** The number of the last record that an anchored checkpoint has seen; without an anchor, any checkpoint. */
  covered: number;
}

interface Book {
  readonly segments: Map<string, Claimed>;
  readonly checkpoints: number;
  readonly anchored: Checkpoint | undefined;
  readonly start: number;
}

/** Thrown to the top: the first bad record ends the search. */
class Found extends Error {
  readonly bad: BadRecord;

  constructor(bad: BadRecord) {
    super(bad.detail);
    this.bad = bad;
  }
}

/** Verifies an audit directory, also beside a running gateway, or an export. Never writes. Throws when something cannot be read at all. */
export function verifyAudit(options: VerifyOptions): Verdict {
  const { evidence, anchor } = options;
  const notes: string[] = [];
  const counts = { records: 0, segments: 0, checkpoints: 0, unanchored: 0 };
  let anchored: Checkpoint | undefined;
  const verdict = (bad?: BadRecord): Verdict => ({
    whole: bad === undefined, ...(bad === undefined ? {} : { bad }), ...counts,
    ...(anchored === undefined ? {} : { anchored: { checkpoint: anchored.checkpoint, time: anchored.time } }), notes,
  });
  try {
    if (evidence.key === undefined && options.key === undefined) throw new Found({ file: REGISTER_FILE, kind: 'removed', detail: 'there is no public key; give it with --key' });
    if (options.key === undefined) notes.push('the checkpoints were held against the public key that lies beside them: give --key what the gateway printed (wardgate audit key)');
    const key = readPublicKey(options.key ?? evidence.key ?? '');
    const book = readBook(evidence, key, wholeLines(anchor, notes));
    counts.checkpoints = book.checkpoints;
    anchored = book.anchored;
    if (anchor === undefined) notes.push('no anchor was given: that the newest checkpoints were not cut off together with what they cover is not proven');
    if (evidence.filtered) verifyPicked(evidence, book, counts, notes);
    else verifySegments(evidence, book, key, counts, notes);
    return verdict();
  } catch (error) {
    if (error instanceof Found) return verdict(error.bad);
    throw error;
  }
}

/** The lines of an anchor file; half a line at its end is not one yet. */
export function readAnchor(path: string): readonly string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1).filter((line) => line !== '');
}

/** What a kill leaves within the anchor is no checkpoint, and no sign of anything else. */
function wholeLines(anchor: readonly string[] | undefined, notes: string[]): readonly string[] | undefined {
  const whole = anchor?.filter((line) => parseCheckpoint(line) !== undefined);
  const halves = (anchor?.length ?? 0) - (whole?.length ?? 0);
  if (halves > 0) notes.push(`the anchor has ${halves} half lines, as a killed process leaves them`);
  return whole;
}

function readBook(evidence: Evidence, key: KeyObject, anchor: readonly string[] | undefined): Book {
  const segments = new Map<string, Claimed>();
  const outside = new Map((anchor ?? []).map((line) => [checkpointHash(line), line]));
  const inside = new Set<string>();
  let number = 0;
  let previous = NO_CHECKPOINT;
  let start = 0;
  let last: string | undefined;
  let anchored: Checkpoint | undefined;
  let bad: BadRecord | undefined;
  const uncovered = new Set<string>();
  evidence.register((line) => {
    if (bad !== undefined) return;
    const at = { file: REGISTER_FILE, line: number + 1, seq: number };
    const checkpoint = parseCheckpoint(line);
    if (checkpoint === undefined) return void (bad = { ...at, kind: 'edited', detail: 'not a checkpoint' });
    if (checkpoint.checkpoint !== number || checkpoint.previous !== previous) {
      // What the signature still holds for was not changed itself.
      const kind = !isSignedCheckpoint(line, key) ? 'edited' : checkpoint.checkpoint > number ? 'removed' : checkpoint.checkpoint < number ? 'reordered' : 'edited';
      return void (bad = { ...at, kind, detail: `checkpoint ${checkpoint.checkpoint} does not follow from the one before it` });
    }
    previous = checkpointHash(line);
    if (outside.size > 0) {
      inside.add(previous);
    }
    last = line;
    start = checkpoint.start;
    number += 1;
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
  if (!isSignedCheckpoint(last, key)) throw new Found(firstUnsigned(evidence, key));
  const lost = [...outside].find(([hash]) => !inside.has(hash))?.[1];
  if (lost !== undefined) throw new Found(lostCheckpoint(lost, number, key));
  return { segments, checkpoints: number, anchored, start };
}

function firstUnsigned(evidence: Evidence, key: KeyObject): BadRecord {
  let at = 0;
  let bad: number | undefined;
  evidence.register((line) => {
    if (bad === undefined && !isSignedCheckpoint(line, key)) bad = at;
    at += 1;
  });
  return { file: REGISTER_FILE, line: (bad ?? 0) + 1, seq: bad ?? 0, kind: 'unsigned', detail: 'not signed with this key' };
}

function lostCheckpoint(line: string, number: number, key: KeyObject): BadRecord {
  const checkpoint = parseCheckpoint(line);
  if (checkpoint === undefined || !isSignedCheckpoint(line, key)) return { file: 'anchor', kind: 'unsigned', detail: `a line of the anchor is no checkpoint signed with this key: ${line.slice(0, 60)}` };
  const gone = checkpoint.checkpoint >= number;
  return {
    file: REGISTER_FILE, seq: checkpoint.checkpoint, kind: gone ? 'truncated' : 'rewritten',
    detail: gone ? `the register ends before checkpoint ${checkpoint.checkpoint} of ${checkpoint.time}, which is anchored` : `checkpoint ${checkpoint.checkpoint} is another one than was anchored`,
  };
}

function claimed(segments: Map<string, Claimed>, claim: SegmentClaim): void {
  const known = segments.get(claim.segment);
  if (known === undefined) return void segments.set(claim.segment, { claims: [claim], last: claim, covered: 0 });
  known.claims.push(claim);
  known.last = claim;
  if (known.claims.length > MOST_CLAIMS) known.claims = known.claims.filter((_, index) => index % 2 === 0 || index === known.claims.length - 1);
}

function cover(known: Claimed | undefined): void {
  if (known !== undefined) known.covered = Math.max(0, known.last.seq);
}

interface Counts {
  records: number;
  segments: number;
  unanchored: number;
}

function verifySegments(evidence: Evidence, book: Book, key: KeyObject, counts: Counts, notes: string[]): void {
  const unknown: string[] = [];
  for (const name of [...new Set([...evidence.segments, ...book.segments.keys()])].sort()) {
    const known = book.segments.get(name);
    if (known === undefined) {
      unknown.push(name);
      continue;
    }
    const found = evidence.read(name, (stretch) => verifySegment(name, stretch, known, evidence, counts, notes));
    if (found === undefined && known.last.state !== 'foreign') throw new Found({ file: name, seq: 0, kind: 'removed', detail: 'the whole segment is gone' });
  }
  if (unknown.length > 0) verifyUnknown(unknown, evidence, key, counts, notes);
}

/** Files that the register did not know when it was read: one that was opened since, if anything. */
function verifyUnknown(names: readonly string[], evidence: Evidence, key: KeyObject, counts: Counts, notes: string[]): void {
  const scans = names.map((name) => ({ name, scan: evidence.read(name, (stretch) => scanSegment(stretch)) }));
  const now = scans.some(({ scan }) => (scan?.at.seq ?? 0) > 0 || scan?.broken !== undefined) ? readBook(evidence, key, undefined) : undefined;
  for (const { name, scan } of scans) {
    const known = now?.segments.get(name);
    if (known !== undefined) evidence.read(name, (stretch) => verifySegment(name, stretch, known, evidence, counts, notes));
    else if (scan !== undefined && (scan.at.seq > 0 || scan.broken !== undefined)) throw new Found({ file: name, line: 1, seq: 0, kind: 'added', detail: 'no checkpoint knows this file' });
    else counts.segments += 1;
  }
}

function verifySegment(name: string, stretch: Stretch, { claims, last, covered }: Claimed, evidence: Evidence, counts: Counts, notes: string[]): true {
  if (last.state === 'foreign') throw new Found({ file: name, line: 1, seq: 0, kind: 'added', detail: 'the gateway found this file at a start and had not written it; move it away' });
  if (last.state === 'before') {
    notes.push(`${name} is from before the checkpoints: nothing is proven of it`);
    return true;
  }
  let next = 0;
  let good: Link | undefined;
  let mismatch: BadRecord | undefined;
  let line = 0;
  const check = (link: Link): boolean => {
    for (; next < claims.length && (claims[next] as Link).seq <= link.seq; next++) {
      const claim = claims[next] as Link;
      if (claim.seq !== link.seq || claim.hash === link.hash) continue;
      mismatch = {
        file: name, line: (good?.seq ?? -1) + 2, seq: (good?.seq ?? -1) + 1, kind: 'rewritten',
        detail: `somewhere in records ${(good?.seq ?? -1) + 1} to ${link.seq}: the chain was computed anew, and is not the one of the checkpoints`,
      };
      return false;
    }
    good = link;
    return true;
  };
  const scan = scanSegment(stretch, START, (link, octets, start, end) => {
    line += 1;
    if (line === 1) {
      const header = parseHeader(octets.toString('utf8', start, end));
      if (header?.file !== name) {
        mismatch = { file: name, line: 1, seq: 0, kind: header === undefined ? 'edited' : 'spliced', detail: header === undefined ? 'the first line is no header of a segment' : `this is the segment ${header.file}` };
        return false;
      }
    }
    return check(link);
  });
  counts.records += Math.max(0, scan.at.seq);
  counts.segments += 1;
  if (mismatch !== undefined) throw new Found(mismatch);
  if (scan.broken !== undefined) throw new Found(classify(name, stretch, scan.broken, evidence));
  const end = claims.at(-1) as Link;
  const most = claims.reduce((longest, claim) => (claim.seq > longest.seq ? claim : longest), end);
  if (scan.at.seq < most.seq) throw new Found({ file: name, line: scan.at.seq + 2, seq: scan.at.seq + 1, kind: 'truncated', detail: `it ends with record ${scan.at.seq}; a checkpoint has seen record ${most.seq}` });
  counts.unanchored += Math.max(0, scan.at.seq - covered);
  if (last.state === 'open') return true;
  if (last.state === 'missing') throw new Found({ file: name, seq: 0, kind: 'removed', detail: 'the gateway missed this segment at a start' });
  if (scan.at.seq > last.seq || scan.rest.length > 0) throw new Found({ file: name, line: last.seq + 2, seq: last.seq + 1, kind: 'added', detail: `it was closed with record ${last.seq}` });
  return true;
}

/** What was done at a place where the chain does not hold. */
function classify(name: string, stretch: Stretch, { line, stated, before }: Break, evidence: Evidence): BadRecord {
  const expected = before.seq + 1;
  const bad = (kind: Tampering, detail: string): BadRecord => ({ file: name, line, seq: expected, kind, detail });
  let at = 0;
  /** Whether the line after continues the chain without this one, or on top of what this one says. */
  let inserted = false;
  let continued = false;
  let again = 0;
  let expectedLater = false;
  let statedElsewhere = false;
  readLines(stretch, leadOf(START), (octets, start, end) => {
    at += 1;
    const one = statedLink(octets, start, end);
    if (one === undefined) return true;
    if (at !== line && stated !== undefined) {
      again += one.hash === stated.hash ? 1 : 0;
      statedElsewhere ||= one.seq === stated.seq;
    }
    if (at === line + 1) {
      inserted = followsDetached(octets, start, one, before);
      continued = stated !== undefined && follows(octets, start, one, { seq: expected, hash: stated.hash });
    }
    if (at > line) expectedLater ||= one.seq === expected;
    return true;
  });
  if (stated !== undefined) {
    const home = homeOf(stated.hash, name, evidence);
    if (home !== undefined) return bad('spliced', `this is record ${stated.seq} of ${home}`);
    if (again > 0) return bad('repeated', `record ${stated.seq} stands there twice`);
  }
  if (inserted) return stated !== undefined && stated.seq > expected && !statedElsewhere ? bad('reordered', `record ${stated.seq} was moved here`) : bad('added', 'the chain goes on without it');
  if (continued) return bad('edited', 'its content does not match its hash');
  if (stated !== undefined && stated.seq > expected) {
    return expectedLater ? bad('reordered', `record ${stated.seq} stands in its place`) : bad('removed', `record ${expected} is gone; record ${stated.seq} follows`);
  }
  return bad('edited', stated === undefined ? 'not a record' : 'its content does not match its hash');
}

/** The same as `follows` for a line that does not stand right behind `before`. */
function followsDetached(octets: Buffer, start: number, stated: Link & { readonly hashed: number }, before: Link): boolean {
  const line = Buffer.concat([leadOf(before), octets.subarray(start, stated.hashed)]);
  return follows(line, LEAD_OCTETS, { seq: stated.seq, hash: stated.hash, hashed: line.length }, before);
}

/** The other segment that holds a record with this hash. */
function homeOf(hash: string, but: string, evidence: Evidence): string | undefined {
  return evidence.segments.find((name) => name !== but && evidence.read(name, (stretch) => {
    let found = false;
    readLines(stretch, Buffer.alloc(0), (octets, start, end) => {
      found = statedLink(octets, start, end)?.hash === hash;
      return !found;
    });
    return found;
  }) === true);
}

/** Each record of a filtered export by itself: that it is as its segment had it where a checkpoint says so, and as it was exported elsewhere. */
function verifyPicked(evidence: Evidence, book: Book, counts: Counts, notes: string[]): void {
  const last = new Map<string, Link>();
  let line = 0;
  let sealed = 0;
  evidence.picked((segment, previous, record) => {
    line += 1;
    const stated = statedLink(record, 0, record.length);
    const text = Buffer.concat([leadOf({ seq: 0, hash: previous }), record]);
    const place = { file: segment, line, ...(stated === undefined ? {} : { seq: stated.seq }) };
    if (stated === undefined || !follows(text, LEAD_OCTETS, { ...stated, hashed: stated.hashed + LEAD_OCTETS }, { seq: stated.seq - 1, hash: previous })) {
      throw new Found({ ...place, kind: 'edited', detail: 'its content does not match its hash' });
    }
    const known = book.segments.get(segment);
    if (known === undefined) throw new Found({ ...place, kind: 'added', detail: 'no checkpoint knows its segment' });
    const before = last.get(segment);
    if (before !== undefined && stated.seq <= before.seq) throw new Found({ ...place, kind: stated.seq === before.seq ? 'repeated' : 'reordered', detail: `record ${before.seq} stands before it` });
    if (before !== undefined && stated.seq === before.seq + 1 && previous !== before.hash) throw new Found({ ...place, kind: 'edited', detail: 'it does not follow from the record before it' });
    const claim = known.claims.find(({ seq }) => seq === stated.seq);
    if (claim !== undefined && claim.hash !== stated.hash) throw new Found({ ...place, kind: 'rewritten', detail: 'the checkpoint has another record here' });
    if (claim !== undefined) sealed += 1;
    last.set(segment, stated);
    counts.records += 1;
  });
  counts.segments = last.size;
  notes.push(`a filtered export: each record was held against its own hash, ${sealed} of ${counts.records} against a signed checkpoint; that none is left out, and that the others were not made up whole, only the segments can show (verify the directory or an export without filter)`);
}
