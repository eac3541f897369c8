import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseDuration } from '../config/values.ts';
import { loadConfiguration } from '../configuration.ts';
import type { GatewayStatus } from '../gateway.ts';
import { SILENT } from '../log.ts';
import { VERSION } from '../version.ts';
import { callGateway } from './call.ts';
import type { CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';
import { WrongUsage } from './usage.ts';

interface Options {
  readonly config: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly reason: string;
  readonly who: string;
  readonly grace: string;
  readonly logLevel: string;
}

/** How long the other process may take until it serves: what is under way in the old one ends first. */
const SERVES_MS = 150_000;
const LOOK_MS = 50;
const MOST_GRACE_MS = 60_000;

/** Adds `wardgate upgrade`: the release that the command belongs to takes over from the one that runs. */
export function addUpgradeCommand(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  program.command('upgrade').description('have this release take over from the one that runs, without a lost request')
    .option(...configOption).option(...jsonOption)
    .option('--dry-run', 'read the configuration with this release and say what would be done')
    .option('--reason <text>', 'why, for the record', 'upgrade')
    .option('--who <name>', 'on whose behalf', user)
    .option('--grace <duration>', 'how long answers and streams under way get; clients that connect meanwhile wait', '5s')
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .addHelpText('after', '\nExamples:\n  wardgate upgrade -c /etc/wardgate/wardgate.yaml --dry-run     of the release that is to serve\n  /opt/wardgate/0.2.0/dist/main.js upgrade -c /etc/wardgate/wardgate.yaml --reason \'security fix\'\n  /opt/wardgate/0.1.0/dist/main.js upgrade -c /etc/wardgate/wardgate.yaml     and back again\n\nExit status 0: this release serves; 1: it does not, and the one that ran serves on.')
    .action(settle((options: Options) => upgrade(options, print)));
}

async function upgrade({ config: file, json, dryRun, reason, who, grace, logLevel }: Options, print: (text: string) => void): Promise<number> {
  const graceMs = parseDuration(grace);
  if (graceMs === undefined || graceMs > MOST_GRACE_MS) throw new WrongUsage(`--grace: expected a duration of at most 60s, not ${JSON.stringify(grace)}`);
  const config = resolve(file);
  const { socket } = readPlaces(config);
  // With the code of this release: what it cannot take is said here.
  await loadConfiguration(config, SILENT);
  const before = await callGateway(socket, 'GET', '/v1/status') as GatewayStatus | undefined;
  if (before === undefined) throw new Error(`no gateway listens on ${socket}: start this release with wardgate run`);
  // Another release may not say.
  const { draining: drains = [] } = before;
  const release = { node: process.execPath, args: [...process.execArgv, realpathSync(process.argv[1] ?? ''), 'run', '-c', config, '--log-level', logLevel] };
  if (dryRun === true) {
    print(json === true
      ? JSON.stringify({ version: VERSION, replaces: before.pid, command: [release.node, ...release.args], undrained: drains })
      : [`release ${VERSION} would take over from pid ${before.pid}: ${release.node} ${release.args.join(' ')}`, ...drains.map(undrained('would take'))].join('\n'));
    return 0;
  }
  const { pid } = await callGateway(socket, 'POST', '/v1/upgrade', { ...release, grace: graceMs, reason, who }) as { readonly pid: number };
  const started = performance.now();
  const serving = await untilAnother(socket, before.pid, pid);
  const done = serving === pid;
  const seconds = (performance.now() - started) / 1_000;
  print(json === true ? JSON.stringify({ version: VERSION, done, pid: serving, replaced: before.pid, seconds, undrained: drains }) : [done ? `release ${VERSION} serves as pid ${pid} in place of ${before.pid}, after ${seconds.toFixed(1)} s` : `release ${VERSION} does not serve: pid ${before.pid} has started again; the log says why`, ...drains.map(undrained('takes'))].join('\n'));
  return done ? 0 : 1;
}

/** A drain is known to the process that was told of it alone: whoever drained before must hear that it is over. */
function undrained(takes: string): (drain: GatewayStatus['draining'][number]) => string {
  return ({ listener, who, since }) => `${listener === undefined ? 'every listener' : `listener ${listener}`}, drained since ${since} by ${who}, ${takes} new connections again: wardgate drain it anew where it is to stay drained`;
}

/** The process that serves once the hand-over is over: the new one, or the one before once more. */
async function untilAnother(socket: string, before: number, wanted: number): Promise<number> {
  const deadline = performance.now() + SERVES_MS;
  let left = false;
  while (performance.now() < deadline) {
    const status = await callGateway(socket, 'GET', '/v1/status').catch(() => undefined) as GatewayStatus | undefined;
    left ||= status === undefined;
    if (status?.pid === wanted || (left && status?.pid === before)) return status.pid;
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
  throw new Error(`nobody answers on ${socket} after ${SERVES_MS / 1_000} s; expected pid ${wanted}`);
}
