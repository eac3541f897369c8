import type { Measurement } from './measure.ts';
import type { Scenario } from './scenarios.ts';

/** What one run of the bench found out. */
export interface Report {
  readonly at: string;
  readonly revision: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly machine: string;
  readonly pinned: boolean;
  readonly versions: Readonly<Record<string, string>>;
  readonly missing: readonly string[];
  readonly scenarios: readonly Scenario[];
  readonly measurements: readonly Measurement[];
  /** Peak resident size in MiB at the end, after everything. */
  readonly peakMiB: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
}

interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** The baseline of all ratios. */
export const BASELINE = 'nginx';

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
  return { min: sorted[0] ?? NaN, median: median ?? NaN, max: sorted.at(-1) ?? NaN };
}

/** CPU relative to the baseline's in the same round, so that what slowed a whole round cancels out. */
function ratios(own: readonly Measurement[], baseline: readonly Measurement[]): readonly number[] {
  return own.flatMap((one) => {
    const other = baseline.find((candidate) => candidate.round === one.round);
    return other === undefined ? [] : [one.cpuMicros / other.cpuMicros];
  });
}

/** The report as Markdown: one table a scenario. */
export function markdown(report: Report): string {
  const peers = Object.keys(report.versions);
  const lines = [
    `# Side by side, ${report.at}`, '',
    `Revision ${report.revision}; ${report.rounds} interleaved rounds${report.quick ? ' (quick)' : ''}; ${report.machine}; `
      + `${report.pinned ? 'each server pinned to core 0, load generator and backend to core 1' : 'nothing pinned: too few cores, or no taskset'}.`,
    '', ...Object.entries(report.versions).map(([name, version]) => `- ${name}: ${version}`),
    ...report.missing.map((name) => `- ${name}: not installed, left out`), '',
    'CPU is user and system time of the server\'s processes for one request or handshake: median (minimum–maximum) over the rounds. The ratio is taken round by round. '
      + `"Per core" is what one core full of it would serve. Latencies are medians of the rounds' percentiles, under a closed loop. "Noise" is the share of the machine that neighbours used meanwhile.`,
  ];
  for (const scenario of report.scenarios) lines.push('', ...scenarioTable(report, scenario, peers));
  lines.push('', '## Memory', '', 'Peak resident size after all of it, in MiB.', '', '| server | MiB |', '| --- | ---: |');
  for (const [name, peak] of Object.entries(report.peakMiB)) lines.push(`| ${name} | ${peak.toFixed(0)} |`);
  if (report.faults.length > 0) lines.push('', '## Not counted', '', ...report.faults.map((fault) => `- ${fault}`));
  return `${lines.join('\n')}\n`;
}

function scenarioTable(report: Report, scenario: Scenario, peers: readonly string[]): readonly string[] {
  const of = (peer: string): readonly Measurement[] => report.measurements.filter((one) => one.peer === peer && one.scenario === scenario.name);
  const baseline = of(BASELINE);
  const rows = peers.map((peer) => {
    const all = of(peer);
    if (all.length === 0) return `| ${peer} | not measured |`;
    const cpu = spread(all.map((one) => one.cpuMicros));
    const median = (pick: (one: Measurement) => number): number => spread(all.map(pick)).median;
    const ratio = baseline.length === 0 ? '–' : spreadText(spread(ratios(all, baseline)), 2);
    return `| ${[
      peer, `${spreadText(cpu, 0)} µs`, ratio, Math.round(1e6 / cpu.median), Math.round(median((one) => one.perSecond)),
      milliseconds(median((one) => one.load.p50)), milliseconds(median((one) => one.load.p95)), milliseconds(median((one) => one.load.p99)),
      `${Math.round(median((one) => one.busy) * 100)} %`, `${Math.round(median((one) => one.noise) * 100)} %`,
    ].join(' | ')} |`;
  });
  return [
    `## ${scenario.title}`, '', `${scenario.connections} connections, ${report.quick ? scenario.quick : scenario.full} ${scenario.unit}s a round.`, '',
    `| server | CPU per ${scenario.unit} | ratio to ${BASELINE} | per core and second | measured a second | p50 ms | p95 ms | p99 ms | core used | noise |`,
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |', ...rows,
  ];
}

function spreadText({ min, median, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

function milliseconds(micros: number): string {
  return (micros / 1000).toFixed(1);
}
