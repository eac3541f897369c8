/** How many connections may be open while memory is short; `ceiling` is undefined while it is not. */
export interface Shedding {
  readonly ceiling: number | undefined;
  /** Resident memory when the ceiling was last lowered, in octets. */
  readonly resident: number;
}

export interface MemoryReading {
  /** Resident memory of the process, in octets. */
  readonly resident: number;
  /** Octets above which connections are shed. */
  readonly mark: number;
  /** Connections open now, and the most there may ever be. */
  readonly open: number;
  readonly most: number;
}

export const NOT_SHEDDING: Shedding = { ceiling: undefined, resident: 0 };

/** Below this share of the mark the shortage is over: not at the mark itself, where it would come and go. */
const OVER = 0.95;
/** Growth that counts as such, and not as noise. */
const GROWTH = 1.01;

/**
 * The ceiling after a reading, to be taken a few times a second. Over the mark no more connections than there are; a tenth
 * fewer whenever memory has grown since all the same; and, as long as it does not grow, slowly more: a process keeps memory that it
 * no longer needs, and would otherwise never let anybody in again.
 */
export function nextShedding(before: Shedding, { resident, mark, open, most }: MemoryReading): Shedding {
  const { ceiling } = before;
  if (ceiling === undefined) return resident > mark ? { ceiling: Math.min(open, most), resident } : NOT_SHEDDING;
  if (resident < mark * OVER) return NOT_SHEDDING;
  if (resident > before.resident * GROWTH) return { ceiling: Math.floor(Math.min(ceiling, open) * 0.9), resident };
  return { ceiling: Math.min(most, ceiling + Math.max(1, Math.floor(ceiling / 100))), resident: before.resident };
}
