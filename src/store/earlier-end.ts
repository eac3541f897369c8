/** What is in force: by whom and why, and until when (ISO 8601; absent: until it is lifted). */
interface Standing {
  readonly reason: string;
  readonly who: string;
  readonly expires?: string;
}

/** An order would have something end before the end that it has. */
export class EarlierEndError extends Error {
  readonly code = 'ends_earlier';
}

/**
 * Throws an EarlierEndError when an order would end what stands: who cuts something off for two hours must not let it in again that somebody else has cut off
 * for good. `what` says what is ordered, `now` is in ms since the epoch.
 */
export function refuseEarlierEnd(what: string, standing: Standing | undefined, expires: string | undefined, now: number): void {
  if (expires === undefined) return;
  const end = Date.parse(expires);
  if (end <= now) throw new EarlierEndError(`${what}: ${expires} is past`);
  if (standing === undefined || (standing.expires !== undefined && Date.parse(standing.expires) <= end)) return;
  throw new EarlierEndError(`${what} already, ${standing.expires === undefined ? 'without an end' : `until ${standing.expires}`} (${standing.reason}, ${standing.who}): lift that first where it is to end earlier`);
}

/** What stands, in words, when a message says that an order was refused because it would end that earlier: from a running gateway it comes as text. */
export function standingIn(message: string): string | undefined {
  return /^(.* already, .*): lift that first where it is to end earlier$/s.exec(message)?.[1];
}
