import type { Trigger } from './rule.ts';

/** Parts of a window: how coarse it slides. */
const PARTS = 8;

/** Records come late by hours after an outage, and never by so many ms: what is so far behind was not late, the clock had been in the future. */
export const NEVER_LATE_MS = 3 * 86_400_000;

/** A sliding count of a window of `width` ms: `newest` is the number of the newest part since the epoch, `counts` that part and those before it, newest first. */
export interface Counted {
  readonly width: number;
  readonly newest: number;
  readonly counts: readonly number[];
  /** The last records, once the count comes near to what is wanted: oldest first. */
  readonly last?: readonly Trigger[];
  /** The last attempts with a second factor, and requests, as `ID EVENT`: the two of one attempt count once. */
  readonly attempts?: readonly string[];
  /** When the alarm about it was last acknowledged (ms): what is counted came after. */
  readonly since?: number;
}

/**
 * Counts one record of `time` (ms) into a window of `width` ms. What is late is counted where it belongs, as long as the window still
 * reaches there. A window of another width begins anew: its parts have other numbers; and so does one whose alarm somebody has
 * acknowledged `since` (ms): what led to that was looked into.
 */
export function countIn(known: Counted | undefined, time: number, width: number, since = 0): Counted {
  const before = known?.width === width && (known.since ?? 0) >= since ? known : undefined;
  const from = Math.max(since, before?.since ?? 0);
  const kept = from === 0 ? {} : { since: from };
  const part = Math.floor(time / (width / PARTS));
  if (before === undefined || part - before.newest >= PARTS || (before.newest - part) * (width / PARTS) > NEVER_LATE_MS) return { width, newest: part, counts: [1], ...kept };
  const ahead = part - before.newest;
  if (ahead <= -PARTS) return before;
  const counts = ahead > 0 ? [...Array.from({ length: ahead }, () => 0), ...before.counts].slice(0, PARTS) : [...before.counts];
  const at = Math.max(0, -ahead);
  while (counts.length <= at) counts.push(0);
  counts[at] = (counts[at] as number) + 1;
  return { width, newest: Math.max(part, before.newest), counts, ...kept, ...(before.attempts === undefined ? {} : { attempts: before.attempts }), ...(before.last === undefined ? {} : { last: before.last }) };
}

/** How many there are in the window. */
export function total({ counts }: Counted): number {
  return counts.reduce((sum, one) => sum + one, 0);
}

/** Records that an alarm shows of those that led to it. */
const SHOWN = 5;

/** The same, with the records kept that an alarm would show: those just before `wanted` is reached. */
export function countWith(before: Counted | undefined, time: number, width: number, wanted: number, trigger: () => Trigger, since = 0): Counted {
  const counted = countIn(before, time, width, since);
  const { last: _, ...bare } = counted;
  if (total(counted) < wanted - SHOWN) return bare;
  return { ...bare, last: [...counted.last ?? [], trigger()].slice(-SHOWN) };
}
