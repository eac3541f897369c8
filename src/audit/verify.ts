import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Found, type BadRecord, type Tampering } from './bad-record.ts';
import { readBook, type Book, type Claimed } from './book.ts';
import { LEAD_OCTETS, START, follows, leadOf, statedLink, type Link } from './chain.ts';
import { REGISTER_FILE, parseCheckpoint, type Checkpoint } from './checkpoint.ts';
import { CompressedError } from './compressed.ts';
import type { Evidence } from './evidence.ts';
import { keyName, readPublicKey } from './key.ts';
import { readLines, type Stretch } from './lines.ts';
import { verifyManifest } from './seal.ts';
import { isHeaderOnly, parseHeader, scanSegment, type Break } from './segment.ts';
import { verifyPicked, type PickedCounts } from './verify-picked.ts';

export type { BadRecord, Tampering } from './bad-record.ts';

/** What verifying found. */
export interface Verdict {
  readonly whole: boolean;
  readonly bad?: BadRecord;
  readonly records: number;
  /** Of single records, those that a signature covers. */
  readonly proven?: number;
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

/** Verifies an audit directory, also beside a running gateway, or an export. Never writes. Throws when something cannot be read at all. */
export function verifyAudit(options: VerifyOptions): Verdict {
  const { evidence, anchor } = options;
  const notes: string[] = [];
  const counts = { records: 0, segments: 0, checkpoints: 0, unanchored: 0 } as PickedCounts & { checkpoints: number };
  let anchored: Checkpoint | undefined;
  const verdict = (bad?: BadRecord): Verdict => ({
    whole: bad === undefined, ...(bad === undefined ? {} : { bad }), ...counts,
    ...(anchored === undefined ? {} : { anchored: { checkpoint: anchored.checkpoint, time: anchored.time } }), notes,
  });
  try {
    if (evidence.key === undefined && options.key === undefined) throw new Found({ file: REGISTER_FILE, kind: 'removed', detail: 'there is no public key; give it with --key' });
    if (options.key === undefined) notes.push('the checkpoints were held against the public key that lies beside them: give --key what the gateway printed (wardgate audit key)');
    const key = readPublicKey(options.key ?? evidence.key ?? '');
    if (evidence.stray !== undefined) throw new Found(evidence.stray);
    const book = readBook(evidence, key, ownLines(anchor, key, notes));
    counts.checkpoints = book.checkpoints;
    anchored = book.anchored;
    if (anchor === undefined) notes.push('no anchor was given: that the newest checkpoints were not cut off together with what they cover is not proven');
    if (evidence.seal !== undefined) notes.push(verifyManifest(evidence.seal, key));
    for (const { segments, before, who, time, reason } of book.prunings) notes.push(`${segments} segments were removed by retention on ${time} by ${who}, all of them from before ${before}: ${reason}`);
    if (evidence.filtered) verifyPicked(evidence, book, counts, notes);
    else verifySegments(evidence, book, key, counts, notes);
    return verdict();
  } catch (error) {
    if (error instanceof Found) return verdict(error.bad);
    throw error;
  }
}

/** A checkpoint as receivers of syslog write it, whichever head they put before it. */
const RECEIVED = /^[^{]*(?:wardgate(?:\[\d+\])?:|checkpoint -) (\{"checkpoint":.*\})\s*$/;

/** The checkpoints of an anchor file, or of the file of a receiver of syslog, whose other lines are none of ours; half a line at its end is not one yet. */
export function readAnchor(path: string): readonly string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1).flatMap((line) => {
    if (line.startsWith('{')) return [line];
    const [, received] = RECEIVED.exec(line) ?? [];
    return received === undefined ? [] : [received];
  });
}

/** What a kill leaves within the anchor is no checkpoint, and no sign of anything else; a receiver may have those of other gateways beside ours. */
function ownLines(anchor: readonly string[] | undefined, key: KeyObject, notes: string[]): readonly string[] | undefined {
  const gateway = keyName(key);
  const parsed = anchor?.map((line) => ({ line, checkpoint: parseCheckpoint(line) }));
  const halves = parsed?.filter(({ checkpoint }) => checkpoint === undefined).length ?? 0;
  const others = parsed?.filter(({ checkpoint }) => checkpoint !== undefined && checkpoint.gateway !== gateway).length ?? 0;
  if (halves > 0) notes.push(`the anchor has ${halves} half lines, as a killed process leaves them`);
  if (others > 0) notes.push(`the anchor has ${others} checkpoints of other gateways`);
  const own = parsed?.filter(({ checkpoint }) => checkpoint?.gateway === gateway).map(({ line }) => line);
  // Who wrote all of it anew with a key of his own would otherwise be anchored by nothing, and pass.
  if (own?.length === 0) throw new Found({ file: 'anchor', kind: 'removed', detail: `the anchor has no checkpoint that is of the key ${gateway}: it proves nothing of this audit` });
  return own;
}

function verifySegments(evidence: Evidence, book: Book, key: KeyObject, counts: PickedCounts, notes: string[]): void {
  const unknown: string[] = [];
  for (const name of [...new Set([...evidence.segments, ...book.segments.keys()])].sort()) {
    const known = book.segments.get(name);
    if (known === undefined) {
      unknown.push(name);
      continue;
    }
    if (readable(name, () => evidence.differs(name))) throw new Found({ file: name, kind: 'added', detail: 'it is there twice, compressed and plain, and they are not the same' });
    const found = readable(name, () => evidence.read(name, (stretch) => verifySegment(name, stretch, known, evidence, counts, notes)));
    if (found === undefined && known.last.state !== 'foreign' && known.last.state !== 'pruned') throw new Found({ file: name, seq: 0, kind: 'removed', detail: 'the whole segment is gone' });
  }
  if (unknown.length > 0) verifyUnknown(unknown, evidence, key, counts, notes);
}

/** A compressed file that can be read no longer was changed by somebody. */
function readable<Result>(name: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof CompressedError) throw new Found({ file: name, kind: 'edited', detail: `compressed: ${error.message}` });
    throw error;
  }
}

/** Files that the register did not know when it was read: one that was opened since, if anything. */
function verifyUnknown(names: readonly string[], evidence: Evidence, key: KeyObject, counts: PickedCounts, notes: string[]): void {
  const scans = names.map((name) => ({ name, isOpened: readable(name, () => evidence.read(name, (stretch) => isHeaderOnly(stretch, name))) }));
  const now = scans.some(({ isOpened }) => isOpened === false) ? readBook(evidence, key, undefined) : undefined;
  for (const { name, isOpened } of scans) {
    const known = now?.segments.get(name);
    if (known !== undefined) evidence.read(name, (stretch) => verifySegment(name, stretch, known, evidence, counts, notes));
    else if (isOpened === false) throw new Found({ file: name, line: 1, seq: 0, kind: 'added', detail: 'no checkpoint knows this file' });
    else counts.segments += 1;
  }
}

function verifySegment(name: string, stretch: Stretch, { claims, last, most, covered }: Claimed, evidence: Evidence, counts: PickedCounts, notes: string[]): true {
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
  if (scan.at.seq < most.seq) throw new Found({ file: name, line: scan.at.seq + 2, seq: scan.at.seq + 1, kind: 'truncated', detail: `${scan.at.seq < 0 ? 'it holds no whole record' : `it ends with record ${scan.at.seq}`}; a checkpoint has seen record ${most.seq}` });
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

