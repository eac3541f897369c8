import type { Measurement } from './measure.ts';

/** The baseline of all ratios among different servers, and among the gateway's own configurations. */
export const BASELINES = { peers: 'nginx', routes: '1 route' } as const;

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** NaN throughout where there are no values. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
  return { min: sorted[0] ?? NaN, median: median ?? NaN, max: sorted.at(-1) ?? NaN };
}

/** CPU relative to the baseline's in the same round, so that what slowed a whole round cancels out. */
export function ratios(own: readonly Measurement[], baseline: readonly Measurement[]): readonly number[] {
  return own.flatMap((one) => {
    const other = baseline.find((candidate) => candidate.round === one.round);
    return other === undefined ? [] : [one.cpuMicros / other.cpuMicros];
  });
}
