import type { Staple } from './revocation/staples.ts';
import type { StapleSource } from './tls/contexts.ts';

/** The OCSP answers that a thread shows. */
export interface ThreadStaples {
  /** All of them, from now on. */
  take(staples: readonly Staple[]): void;
  /** One that is over is not shown, whoever should have replaced it. */
  readonly of: StapleSource;
}

export function createThreadStaples(now: () => number): ThreadStaples {
  let staples: ReadonlyMap<string, Staple> = new Map();
  return {
    take: (all) => {
      staples = new Map(all.map((staple) => [staple.certificate, staple]));
    },
    of(sha256) {
      const staple = staples.get(sha256);
      return staple === undefined || now() >= staple.until ? undefined : Buffer.from(staple.answer);
    },
  };
}
