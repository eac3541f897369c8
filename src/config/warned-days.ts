/** How many days before its end a certificate is warned of unless a configuration says otherwise, the longest first; of the last it is an error. */
export const WARNED_DAYS = [90, 30, 7] as const;
