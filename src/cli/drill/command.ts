import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import type { Config } from '../../config/schema.ts';
import { parseDuration } from '../../config/values.ts';
import { auditPlaces, noteUse } from '../archive.ts';
import type { CommandGround } from '../ground.ts';
import { usage } from '../usage.ts';
import { BARS, DRILLS, type Drill } from './drills.ts';
import { reportText, type DrillReport } from './report.ts';

interface DrillOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly within?: string;
  readonly record: boolean;
  readonly who: string;
}

type Exit = (code: number) => never;

/** Adds `drill`. */
export function addDrillCommand(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround, exit: Exit): void {
  program.command('drill').description('rehearse an incident against a staging gateway made of your configuration; nothing real is touched')
    .addArgument(new Argument('<drill>', 'which').choices(Object.keys(DRILLS)))
    .option(...configOption).option(...jsonOption)
    .option('--within <duration>', 'how long an emergency registration or a restore may take', '30m')
    .option('--no-record', 'leave it out of the audit of the gateway')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExamples:\n  wardgate drill theft -c /etc/wardgate/wardgate.yaml\n  wardgate drill expiry --within 30m --json\n\nExit status 0: passed; 1: a bar was missed.')
    .action(settle((drill: string, options: DrillOptions) => runDrill(drill, options, print, exit)));
}

/** `wardgate drill`: exit 1 when a bar is missed. */
async function runDrill(name: string, options: DrillOptions, print: (text: string) => void, exit: Exit): Promise<number> {
  const bar = parseDuration(options.within ?? '30m') ?? undefined;
  if (bar === undefined) return usage(`--within: ${JSON.stringify(options.within)} is not a duration such as 30m`);
  const drill = DRILLS[name];
  if (drill === undefined) return usage(`no drill ${JSON.stringify(name)}; known: ${Object.keys(DRILLS).join(', ')}`);
  const report = await inScratch(exit, (scratch) => drilled(name, drill, Math.min(bar, BARS.emergency), options.config, scratch));
  const missed = report.findings.filter(({ ok }) => !ok).length;
  if (options.record) await noteUse(auditPlaces(options.config), { who: options.who, detail: `drill ${name}: ${report.passed ? 'passed' : `${missed} of ${report.findings.length} missed`}, ${report.ms} ms` });
  print(options.json === true ? JSON.stringify(report) : reportText(report));
  return report.passed ? 0 : 1;
}

/** What a role may use: routes, and listeners of streams, which have none. */
function hitOf(role: string, { routes, listeners }: Config): DrillReport['hit'][number] {
  const named = (all: readonly { readonly name: string; readonly allow: readonly string[] }[]): readonly string[] => all.filter(({ allow }) => allow.includes(role)).map(({ name }) => name);
  return { role, routes: named(routes), listeners: named(listeners.filter((listener) => listener.protocol === 'tcp')) };
}

async function drilled(name: string, drill: Drill, bar: number, config: string, scratch: string): Promise<DrillReport> {
  const began = Date.now();
  const clock = performance.now();
  const { startStaging } = await import('./staging.ts');
  const staging = await startStaging(config, scratch);
  try {
    const { findings, roles } = await drill(staging, bar);
    return {
      drill: name, passed: findings.every(({ ok }) => ok), began: new Date(began).toISOString(), ms: Math.round(performance.now() - clock), findings,
      hit: [...new Set(roles)].map((role) => hitOf(role, staging.config)), left_out: staging.plan.leftOut,
    };
  } finally {
    await staging.close();
  }
}

/** Lends a directory that nothing stays of, not even when a signal ends the process: keys lie in it. */
async function inScratch<Result>(exit: Exit, use: (scratch: string) => Promise<Result>): Promise<Result> {
  let scratch: string | undefined;
  // Threads of the staging gateway may be writing there.
  const remove = (): void => void (scratch !== undefined && rmSync(scratch, { recursive: true, force: true, maxRetries: 3 }));
  const onSignal = (signal: NodeJS.Signals): void => {
    remove();
    exit(128 + constants.signals[signal]);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    scratch = mkdtempSync(join(tmpdir(), 'wardgate-drill-'));
    return await use(scratch);
  } finally {
    remove();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
