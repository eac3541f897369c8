import type { Measurement } from './measure.ts';
import { BASELINES, ratios, spread, type Spread } from './ratios.ts';

/** A ratio that the gateway's CPU time has to stay within. */
export interface Bar {
  readonly scenario: string;
  readonly of: string;
  readonly to: string;
  readonly atMost: number;
}

/** What a bar came to; `ratio` is undefined where one of the two was not measured. */
export interface Verdict {
  readonly bar: Bar;
  readonly ratio: Spread | undefined;
  readonly kind: 'met' | 'missed' | 'not measured';
}

const HANDSHAKES = ['handshake-ec-1.3', 'handshake-rsa-1.3', 'handshake-ec-1.2', 'handshake-rsa-1.2', 'resumed-ec-1.3', 'resumed-ec-1.2'];
/** What "flat" is taken to mean: a thousand rules cost at most a tenth more than one. */
const FLAT = 1.1;

export const BARS: readonly Bar[] = [
  { scenario: 'kept-alive', of: 'wardgate', to: 'nginx', atMost: 1 },
  { scenario: 'kept-alive', of: 'wardgate', to: 'caddy', atMost: 0.5 },
  ...HANDSHAKES.map((scenario) => ({ scenario, of: 'wardgate', to: 'nginx', atMost: 1 })),
  { scenario: 'body-1m', of: 'wardgate', to: 'nginx', atMost: 1.2 },
  ...['routes-kept-alive', 'routes-handshake'].flatMap((scenario) =>
    ['1000 routes', '1000 below one segment', '1000 hosts'].map((of) => ({ scenario, of, to: BASELINES.routes, atMost: FLAT }))),
];

/** Holds the bars to the medians of the ratios that were taken round by round. */
export function verdicts(measurements: readonly Measurement[], bars: readonly Bar[] = BARS): readonly Verdict[] {
  return bars.map((bar) => {
    const all = (peer: string): readonly Measurement[] => measurements.filter((one) => one.scenario === bar.scenario && one.peer === peer);
    const taken = ratios(all(bar.of), all(bar.to));
    if (taken.length === 0) return { bar, ratio: undefined, kind: 'not measured' };
    const ratio = spread(taken);
    return { bar, ratio, kind: ratio.median <= bar.atMost ? 'met' : 'missed' };
  });
}
