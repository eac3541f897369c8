import { verdicts, type Verdict } from './bars.ts';
import { BODY_MIB } from './bodies.ts';
import { IDLE_S, type IdleMeasurement } from './idle.ts';
import type { Measurement } from './measure.ts';
import { BASELINES, ratios, spread, type Spread } from './ratios.ts';
import type { IdleScenario, LoadScenario, Scenario } from './scenarios.ts';

/** What one run of the bench found out. */
export interface Report {
  readonly at: string;
  readonly revision: string;
  readonly quick: boolean;
  /** Whole ones; scenarios in the beginning may have been measured once more. */
  readonly rounds: number;
  readonly machine: string;
  readonly pinned: boolean;
  readonly versions: Readonly<Record<string, string>>;
  readonly missing: readonly string[];
  /** Names of the servers of each group, in the order of the tables. */
  readonly servers: Readonly<Record<Scenario['servers'], readonly string[]>>;
  readonly scenarios: readonly Scenario[];
  readonly measurements: readonly Measurement[];
  readonly idle: readonly IdleMeasurement[];
  /** Peak resident size in MiB at the end, after everything. */
  readonly peakMiB: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
}

/** The report as Markdown: the bars, then one table a scenario. */
export function markdown(report: Report): string {
  const lines = [
    `# Side by side, ${report.at}`, '',
    `Revision ${report.revision}; ${report.rounds} whole interleaved rounds${report.quick ? ' (quick)' : ''}; ${report.machine}; `
      + `${report.pinned ? 'each server pinned to core 0, load generator and backend to core 1' : 'nothing pinned: too few cores, or no taskset'}.`,
    '', ...Object.entries(report.versions).map(([name, version]) => `- ${name}: ${version}`),
    ...report.missing.map((name) => `- ${name}: not installed, left out`), '',
    'CPU is user and system time of the server\'s processes for one request or handshake: median (minimum–maximum) over the rounds. The ratio is taken round by round. '
      + `"Per core" is what one core full of it would serve. Latencies are medians of the rounds' percentiles, under a closed loop. "Noise" is the share of the machine that neighbours used meanwhile.`,
    ...barTable(report),
  ];
  for (const scenario of report.scenarios) lines.push('', ...(scenario.kind === 'load' ? loadTable(report, scenario) : idleTable(report, scenario)));
  if (Object.keys(report.peakMiB).length > 0) lines.push('', '## Memory', '', 'Peak resident size after all of it, in MiB.', '', '| server | MiB |', '| --- | ---: |');
  for (const [name, peak] of Object.entries(report.peakMiB)) lines.push(`| ${name} | ${peak.toFixed(0)} |`);
  if (report.faults.length > 0) lines.push('', '## Not counted', '', ...report.faults.map((fault) => `- ${fault}`));
  return `${lines.join('\n')}\n`;
}

function barTable(report: Report): readonly string[] {
  const chosen = new Set(report.scenarios.map(({ name }) => name));
  const all = verdicts(report.measurements).filter(({ bar }) => chosen.has(bar.scenario));
  if (all.length === 0) return [];
  return ['', '## Bars', '', '| scenario | CPU of | to that of | at most | measured | |', '| --- | --- | --- | ---: | ---: | --- |', ...all.map(barRow)];
}

function barRow({ bar, ratio, kind }: Verdict): string {
  return `| ${bar.scenario} | ${bar.of} | ${bar.to} | ${bar.atMost.toFixed(1)} | ${ratio === undefined ? '–' : spreadText(ratio, 2)} | ${kind === 'missed' ? '**missed**' : kind} |`;
}

function loadTable(report: Report, scenario: LoadScenario): readonly string[] {
  const of = (peer: string): readonly Measurement[] => report.measurements.filter((one) => one.peer === peer && one.scenario === scenario.name);
  const to = BASELINES[scenario.servers];
  const baseline = of(to);
  const mib = scenario.body === undefined ? undefined : BODY_MIB[scenario.body];
  const rows = report.servers[scenario.servers].map((peer) => {
    const all = of(peer);
    if (all.length === 0) return `| ${peer} | not measured |`;
    const cpu = spread(all.map((one) => one.cpuMicros));
    const median = (pick: (one: Measurement) => number): number => spread(all.map(pick)).median;
    return `| ${[
      peer, `${spreadText(cpu, 0)} µs`, ...(mib === undefined ? [] : [`${(cpu.median / mib).toFixed(0)} µs`]), baseline.length === 0 ? '–' : spreadText(spread(ratios(all, baseline)), 2),
      perSecond(1e6 / cpu.median), perSecond(median((one) => one.perSecond)),
      milliseconds(median((one) => one.load.p50)), milliseconds(median((one) => one.load.p95)), milliseconds(median((one) => one.load.p99)),
      `${Math.round(median((one) => one.busy) * 100)} %`, `${Math.round(median((one) => one.noise) * 100)} %`,
    ].join(' | ')} |`;
  });
  return [
    `## ${scenario.title}`, '',
    `${scenario.connections === 1 ? 'One connection' : `${scenario.connections} connections`}, ${report.quick ? scenario.quick : scenario.full} ${scenario.unit}s a round.`
      + `${scenario.note === undefined ? '' : ` ${scenario.note}`}`, '',
    `| server | CPU per ${scenario.unit} |${mib === undefined ? '' : ' per MiB |'} ratio to ${to} | per core and second | measured a second | p50 ms | p95 ms | p99 ms | core used | noise |`,
    `| --- |${' ---: |'.repeat(mib === undefined ? 9 : 10)}`, ...rows,
  ];
}

function idleTable(report: Report, scenario: IdleScenario): readonly string[] {
  const of = (peer: string): IdleMeasurement | undefined => report.idle.find((one) => one.peer === peer && one.scenario === scenario.name);
  const baseline = of(BASELINES[scenario.servers]);
  const rows = report.servers[scenario.servers].map((peer) => {
    const one = of(peer);
    if (one === undefined) return `| ${peer} | not measured |`;
    return `| ${[
      peer, one.kibEach.toFixed(1), baseline === undefined ? '–' : (one.kibEach / baseline.kibEach).toFixed(2), one.beforeMiB.toFixed(0), one.afterMiB.toFixed(0),
      one.open, one.answered, `${one.openMicros.toFixed(0)} µs`, one.idleMillis.toFixed(1), milliseconds(one.again.p50), milliseconds(one.again.p95), milliseconds(one.again.p99),
    ].join(' | ')} |`;
  });
  const count = report.quick ? scenario.quick : scenario.full;
  return [
    `## ${scenario.title}`, '',
    `${count} connections to a server started for them, once. Resident size before the first and once all were idle; ${IDLE_S} s without anything; then one more request on each.`, '',
    `| server | KiB each | ratio to ${BASELINES[scenario.servers]} | MiB before | MiB with them | still open | answered again | CPU to open one, its request included | CPU of all while idle, ms a second | again p50 ms | p95 ms | p99 ms |`,
    `| --- |${' ---: |'.repeat(11)}`, ...rows,
  ];
}

function spreadText({ min, median, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

function perSecond(rate: number): string {
  return rate < 100 ? rate.toFixed(1) : rate.toFixed(0);
}

function milliseconds(micros: number): string {
  return (micros / 1000).toFixed(1);
}
