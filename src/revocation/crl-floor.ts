import { createHash } from 'node:crypto';
import type { CrlProblem } from './crl-load.ts';
import { crlKind, isNewer } from './crl-handle.ts';
import type { CrlHandle } from './crl-handle.ts';
import { crlName } from './crl-store.ts';
import type { Kept } from './kept.ts';

/** The newest CRL of each kind that was ever in use: what an older one is refused by, across restarts too. */
export interface CrlFloor {
  /** Those that are not older than what was in use, and what is wrong with the others. */
  sift(handles: readonly CrlHandle[], now: number): { readonly current: readonly CrlHandle[]; readonly older: readonly CrlProblem[] };
  /** Takes note of what is in use now. */
  raise(handles: readonly CrlHandle[], now: number): Promise<void>;
}

interface Mark {
  readonly crlNumber?: bigint;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

const KEY = 'crl numbers';

/**
 * Reads the marks of earlier runs. A mark counts while its CRL would still be in force: afterwards a CA that began again with lower
 * numbers is taken at its word, and an older list has long expired (RFC 5280 section 5.2.3).
 */
export async function openCrlFloor(kept: Kept): Promise<CrlFloor> {
  let writing: Promise<void> = Promise.resolve();
  const marks = readMarks((await kept.read(KEY))?.head);

  function markOf(handle: CrlHandle, now: number): Mark | undefined {
    const mark = marks.get(keyOf(handle));
    return mark !== undefined && now < mark.nextUpdate ? mark : undefined;
  }

  return {
    sift(handles, now) {
      const older: CrlProblem[] = [];
      const current = handles.filter((handle) => {
        const mark = markOf(handle, now);
        if (mark === undefined || !isNewer(mark, handle)) return true;
        older.push({ source: handle.source, reason: 'older', detail: `CRL of ${handle.issuer}: ${crlName(handle)} is older than ${crlName(mark)}, which was in use before and counts until ${new Date(mark.nextUpdate).toISOString()}` });
        return false;
      });
      return { current, older };
    },
    raise(handles, now) {
      const higher = handles.filter((handle) => {
        const mark = markOf(handle, now);
        return handle.proof.kind === 'verified' && now < handle.nextUpdate && (mark === undefined || isNewer(handle, mark));
      });
      if (higher.length === 0) return writing;
      for (const [kind, mark] of marks) if (now >= mark.nextUpdate) marks.delete(kind);
      for (const handle of higher) marks.set(keyOf(handle), markFor(handle));
      const head = Object.fromEntries([...marks].map(([kind, { crlNumber, thisUpdate, nextUpdate }]) =>
        [kind, { this_update: thisUpdate, next_update: nextUpdate, ...(crlNumber === undefined ? {} : { number: crlNumber.toString() }) }]));
      // In turn: the last must not be overtaken by the one before it.
      writing = writing.then(() => kept.write({ key: KEY, head, bytes: new Uint8Array() }));
      return writing;
    },
  };
}

// Not the handle itself: its index would stay in memory with it.
function markFor({ thisUpdate, nextUpdate, crlNumber }: CrlHandle): Mark {
  return { thisUpdate, nextUpdate, ...(crlNumber === undefined ? {} : { crlNumber }) };
}

function readMarks(head: unknown): Map<string, Mark> {
  const entries = Object.entries((head ?? {}) as Record<string, { number?: unknown; this_update?: unknown; next_update?: unknown }>);
  return new Map(entries.flatMap(([kind, { number, this_update: thisUpdate, next_update: nextUpdate }]) => {
    if (typeof thisUpdate !== 'number' || typeof nextUpdate !== 'number') return [];
    const numbered = typeof number === 'string' && /^\d+$/.test(number);
    return [[kind, { thisUpdate, nextUpdate, ...(numbered ? { crlNumber: BigInt(number) } : {}) }] as const];
  }));
}

function keyOf(handle: CrlHandle): string {
  return createHash('sha256').update(crlKind(handle)).digest('hex');
}
