import { randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { flushDirectory } from '../store/whole-file.ts';
import type { Hold, HoldChange, Pruning } from './checkpoint.ts';
import type { CertificateStep } from './certificate-step.ts';
import { COMPRESSED, compressSegment } from './compressed.ts';
import { filterOf, matches } from './filter.ts';
import { segmentPieces, unhurried } from './pieces.ts';
import type { AuditRecord } from './record.ts';
import type { KnownSegment, Register } from './register.ts';
import { readSegment } from './segment-file.ts';
import { rootOf } from './tree.ts';

/** What becomes of segments once they are closed, and what is done with the audit as a whole, all of it on record. */
export interface Archive {
  /** Signs the trees of what has ended, and compresses it once nobody reads the plain file any more. Never rejects. */
  look(): Promise<void>;
  /** Signs the trees alone, of all that has ended by now. */
  signTrees(): Promise<void>;
  /** Puts on record that the audit was used. */
  note(use: AuditUse): Promise<void>;
  /** Puts a step of the CA on record. */
  certificate(step: CertificateStep): Promise<void>;
  /** Holds records until they are released; resolves with its id. */
  hold(order: HoldOrder): Promise<string>;
  /** False when nothing of this id is held. */
  release(id: string, who: string, reason: string): Promise<boolean>;
  /** Removes segments all of whose records are older than they must be kept; with `confirm` false says which. Rejects with an ArchiveError for anything younger. */
  prune(order: PruneOrder): Promise<PruneReport>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

/** That somebody looked into the audit: what for, and what was asked. */
export interface AuditUse extends Pick<AuditRecord, 'serial' | 'fingerprint' | 'patient' | 'route' | 'id'> {
  readonly who: string;
  readonly detail: string;
}

export type HoldOrder = Omit<Hold, 'id'>;

export interface PruneOrder {
  readonly who: string;
  readonly reason: string;
  /** ISO 8601: what is younger stays, though it might go. */
  readonly before?: string;
  readonly confirm: boolean;
}

/** `due`: removed, or it would be. `held`: `hold` is the id of what holds it. */
export interface PruneReport {
  /** ISO 8601: all that is younger must stay. */
  readonly before: string;
  readonly due: readonly { readonly segment: string; readonly records: number; readonly ended: string }[];
  readonly held: readonly { readonly segment: string; readonly hold: string }[];
  /** There was no time for the rest. */
  readonly more: boolean;
}

/** What was asked is not allowed. */
export class ArchiveError extends Error {}

export interface ArchiveOptions {
  readonly register: Pick<Register, 'whole' | 'segments' | 'grown' | 'prune' | 'holds' | 'hold'>;
  readonly directory: string;
  /** Milliseconds that every record is kept. */
  readonly retention: number;
  readonly compress: boolean;
  /** Whether all that read along have all of a segment of so many octets. */
  readonly passed: (segment: string, octets: number) => boolean;
  readonly record: (record: AuditRecord) => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

/** One call takes no longer than this; whoever wants the rest asks again. */
const PRUNE_MS = 20_000;

/** Opens the archive over a register. */
export function openArchive({ register, directory, retention, compress, passed, record, now, warn }: ArchiveOptions): Archive {
  const evidence = { read: <Result>(segment: string, use: Parameters<typeof readSegment<Result>>[2]) => readSegment(directory, segment, use) };
  /** Segments that are not as the register has them: `verify` says how. */
  const odd = new Set<string>();
  /** Signed and compressed. */
  const done = new Set<string>();
  let closed = false;
  let busy: Promise<unknown> | undefined;
  const stop = (): boolean => closed;

  /** One after the other: what is pruned must not be compressed at the same time, and come back. */
  function inTurn<Result>(what: () => Promise<Result>): Promise<Result> {
    const result = (busy ?? Promise.resolve()).then(what);
    const mine = result.then(() => undefined, () => undefined).then(() => {
      if (busy === mine) busy = undefined;
    });
    busy = mine;
    return result;
  }

  async function work(compressToo: boolean): Promise<void> {
    for (const { claim } of register.segments()) {
      if (closed) return;
      if (!isClosed(claim.state) || odd.has(claim.segment) || done.has(claim.segment)) continue;
      try {
        await keep(claim.segment, claim, compressToo);
      } catch (error) {
        odd.add(claim.segment);
        if (!closed) warn(`audit segment ${claim.segment} is left as it is: ${(error as Error).message}`);
      }
    }
  }

  async function keep(segment: string, { seq, hash, octets, tree }: KnownSegment['claim'], compressToo: boolean): Promise<void> {
    if (tree === undefined) {
      const root = await unhurried(rootOf(evidence, segment, { seq, hash }), stop);
      if (closed) return;
      if (root === undefined) throw new Error('it is not what was closed');
      register.grown(segment, root);
    }
    if (!existsSync(join(directory, segment))) return void done.add(segment);
    if (!compress || !compressToo || !passed(segment, octets)) return;
    if (await compressSegment(directory, segment, octets, stop) === undefined && !closed) throw new Error('it has another size than it was closed with');
  }

  const evident = (fields: Partial<AuditRecord>): Promise<void> => record({ time: new Date(now()).toISOString(), event: 'evidence', result: 'done', ...fields });

  async function heldBy(segment: string): Promise<string | undefined> {
    for (const hold of register.holds().values()) {
      const filter = filterOf(hold);
      let found = false;
      const pieces = segmentPieces(evidence, segment, (octets, start, end) => {
        found ||= matches(octets.toString('utf8', start, end), filter);
      });
      await unhurried(pieces, () => found || closed);
      if (found) return hold.id;
    }
    return undefined;
  }

  /** The limit for this order. Throws for one that is too late. */
  function limitOf({ before }: PruneOrder): number {
    const limit = now() - retention;
    const wanted = before === undefined ? limit : Date.parse(before);
    if (wanted <= limit) return wanted;
    throw new ArchiveError(`audit.retention keeps every record for ${Math.floor(retention / 86_400_000)} days: nothing after ${new Date(limit).toISOString()} may be removed, and ${new Date(wanted).toISOString()} is later`);
  }

  async function prune(order: PruneOrder): Promise<PruneReport> {
    // A time moved back or a hold taken out would be signed with what is removed for it, and could be put back afterwards.
    if (!await register.whole()) throw new ArchiveError('the register of checkpoints was changed by somebody: nothing is removed as long as wardgate audit verify finds it so');
    const limit = limitOf(order);
    const holds = [...register.holds().keys()].join();
    const until = performance.now() + PRUNE_MS;
    const due: { segment: string; records: number; ended: string }[] = [];
    const held: { segment: string; hold: string }[] = [];
    const leftover: string[] = [];
    let more = false;
    for (const { claim: { segment, seq, state }, endedAt } of register.segments()) {
      if (state === 'pruned' && isThere(segment)) leftover.push(segment);
      if (endedAt === undefined || endedAt > limit || !(isClosed(state) || state === 'before') || !isThere(segment)) continue;
      more = performance.now() > until;
      if (more) break;
      const hold = await heldBy(segment);
      if (hold === undefined) due.push({ segment, records: Math.max(0, seq), ended: new Date(endedAt).toISOString() });
      else held.push({ segment, hold });
    }
    const before = new Date(limit).toISOString();
    if (order.confirm && due.length + leftover.length > 0) {
      await evident({ who: order.who, detail: `prunes ${due.length} segments that ended before ${before}: ${order.reason}` });
      if ([...register.holds().keys()].join() !== holds) throw new ArchiveError('nothing was removed: what is held has changed meanwhile; ask again');
      remove(due.map(({ segment }) => segment), leftover, { who: order.who, reason: order.reason, before });
    }
    return { before, due, held, more };
  }

  /** Signed before it is done: what is gone without that is tampering. */
  function remove(segments: readonly string[], leftover: readonly string[], pruning: Pruning): void {
    if (segments.length > 0) register.prune(segments, pruning);
    for (const segment of [...segments, ...leftover]) for (const end of ['', COMPRESSED]) rmSync(join(directory, `${segment}${end}`), { force: true });
    flushDirectory(directory);
  }

  function isThere(segment: string): boolean {
    return existsSync(join(directory, segment)) || existsSync(join(directory, `${segment}${COMPRESSED}`));
  }

  return {
    look: () => (busy === undefined ? inTurn(() => work(true)) : Promise.resolve()),
    signTrees: () => inTurn(() => work(false)),
    note: evident,
    certificate: (step) => record({ time: new Date(now()).toISOString(), result: 'done', ...step }),
    async hold(order) {
      const id = randomUUID();
      const { who, reason, from, to, ...meant } = order;
      await evident({ who, ...meant, detail: `held ${rangeText(from, to)} as ${id}: ${reason}` });
      register.hold({ op: 'add', id, ...order } satisfies HoldChange);
      return id;
    },
    async release(id, who, reason) {
      if (!register.holds().has(id)) return false;
      await evident({ who, detail: `released the hold ${id}: ${reason}` });
      register.hold({ op: 'release', id, who, reason });
      return true;
    },
    prune: (order) => inTurn(() => prune(order)),
    async close() {
      closed = true;
      await busy;
    },
  };
}

function isClosed(state: KnownSegment['claim']['state']): boolean {
  return state === 'closed' || state === 'recovered';
}

/** A stretch of time for the record. */
function rangeText(from: string | undefined, to: string | undefined): string {
  return from === undefined && to === undefined ? 'all times' : `${from ?? 'the beginning'} to ${to ?? 'the end'}`;
}
