/** The times of a CRL in use, in milliseconds since the epoch. */
interface Validity {
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

const MOST_NOTICE_MS = 24 * 3_600_000;

/**
 * Whether a CRL is about to end without a newer one having come: less than a quarter of its validity is left, and less than a day.
 * A CA issues the next one well before that.
 */
export function endsSoon({ thisUpdate, nextUpdate }: Validity, now: number): boolean {
  return nextUpdate - now < Math.min((nextUpdate - thisUpdate) / 4, MOST_NOTICE_MS);
}

/** What to tell the operator of a CRL that ends soon. */
export function endsSoonText(issuer: string, { nextUpdate }: Validity, now: number): string {
  const at = new Date(nextUpdate).toISOString();
  return nextUpdate <= now ? `the CRL of ${issuer} has expired (${at})` : `the CRL of ${issuer} expires ${at} and there is no newer one`;
}
