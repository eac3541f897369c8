/** From when until when something is good; ms since the epoch. */
export interface Period {
  readonly from: number;
  readonly until: number;
}

/** What ends: a CA publishes the next CRL shortly before the end of the last, whatever its length; a certificate is renewed long before. */
export type Ending = Period & { readonly kind: 'certificate' | 'crl' };

/** In place of a tier: it has ended. */
export const ENDED = 0;

const DAY = 86_400_000;
/** How long before its end, in ms, something is warned of unless a configuration says otherwise. */
export const USUAL_TIERS: readonly number[] = [90 * DAY, 30 * DAY, 7 * DAY];
/** Tiers are those of a certificate of about a year; what lives shorter has them shorter in the same proportion. */
const WHOLE_LIFE = 360 * DAY;
/** A weekly CRL of AD CS is replaced when a fifteenth of it is left; one that is must never be warned of. */
const CRL_SHARE = 4;
/** RFC 5280 section 4.1.2.5: the last second belongs to it. */
const LAST_SECOND = 1_000;

/** How long before its end, in ms, a tier of `before` ms begins for something: 90 days are a quarter, 30 a twelfth, 7 a fiftieth of a short life; of a CRL a quarter of that. */
export function leadOf(before: number, { from, until, kind }: Ending): number {
  return before * Math.min(1, Math.max(0, until - from) / WHOLE_LIFE) / (kind === 'crl' ? CRL_SHARE : 1);
}

/** The shortest tier, in ms before the end, that something is in at `now`; ENDED behind its end, undefined while none has begun. */
export function tierOf(tiers: readonly number[], ending: Ending, now: number): number | undefined {
  if (now >= ending.until + LAST_SECOND) return ENDED;
  const within = tiers.filter((before) => ending.until - now <= leadOf(before, ending));
  return within.length === 0 ? undefined : Math.min(...within);
}

/** When something comes into its next tier, or ends; Infinity when it has. */
export function nextTierAt(tiers: readonly number[], ending: Ending, now: number): number {
  const begins = [...tiers.map((before) => ending.until - leadOf(before, ending)), ending.until + LAST_SECOND];
  return Math.min(...begins.filter((at) => at > now), Infinity);
}
