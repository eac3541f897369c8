import type { Command } from 'commander';
import { createSafeBoard } from '../audit/board.ts';
import { lagBehind, type ConsumerReport, type Lag } from '../audit/feed.ts';
import { followSegments } from '../audit/follow.ts';
import { feedDirectory, forgetPosition, readPositions } from '../audit/positions.ts';
import type { GatewayStatus } from '../status.ts';
import { auditPlaces } from './archive.ts';
import { callGateway } from './call.ts';
import type { CommandGround } from './ground.ts';

interface Options {
  readonly config: string;
  readonly json?: boolean;
}

/** How far somebody who gets records has come. */
interface Standing {
  readonly name: string;
  /** Whether a running gateway hands it records. */
  readonly fed: boolean;
  readonly lag: Lag;
  readonly failing?: string;
  readonly dead_letters?: number;
}

/** Adds `sinks` to the program's `audit`. */
export function addSinkCommands(audit: Command, { configOption, jsonOption, print, settle }: CommandGround): void {
  const sinks = audit.command('sinks').description('who gets the records, and how far each has come')
    .addHelpText('after', '\nExamples:\n  wardgate audit sinks\n  wardgate audit sinks forget old-siem');
  sinks.command('list', { isDefault: true }).description('list them; what sinks does by itself')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate audit sinks list --json')
    .action(settle((options: Options) => listSinks(options, print)));
  sinks.command('forget').description('drop the position of a sink that is not configured any more; until then segments are kept for it')
    .argument('<name>', 'as sinks shows it')
    .option(...configOption)
    .addHelpText('after', '\nExample:\n  wardgate audit sinks forget old-siem')
    .action(settle((name: string, options: Options) => forgetSink(name, options, print)));
}

async function listSinks(options: Options, print: (text: string) => void): Promise<number> {
  const { state, directory, socket } = auditPlaces(options.config);
  const fed = await consumersOf(socket);
  const files = followSegments({ directory, board: createSafeBoard(0), clock: () => performance.now(), warn: () => undefined });
  const kept = readPositions(feedDirectory(state)).filter(({ name }) => fed.every((one) => one.name !== name));
  const standings: readonly Standing[] = [
    ...fed.map(({ name, lag, failing, dead_letters }) => ({ name, fed: true, lag, dead_letters, ...(failing === undefined ? {} : { failing }) })),
    ...kept.map((position) => ({ name: position.name, fed: false, lag: lagBehind(files, position, Date.now()) })),
  ];
  if (options.json === true) print(JSON.stringify(standings));
  else print(standings.length === 0 ? 'nobody gets records' : standings.map(line).join('\n'));
  return 0;
}

function line({ name, fed, lag, failing, dead_letters: dead = 0 }: Standing): string {
  const behind = lag.records === 0 ? 'has everything' : `${lag.records} records behind, the oldest ${Math.round(lag.seconds)} s old`;
  return `${name}: ${behind}${fed ? '' : ', is handed nothing at the moment'}${dead === 0 ? '' : `, ${dead} dead letters`}${failing === undefined ? '' : `, FAILING: ${failing}`}`;
}

async function forgetSink(name: string, options: Options, print: (text: string) => void): Promise<number> {
  const { state, socket, sinks } = auditPlaces(options.config);
  const fed = await consumersOf(socket);
  if (sinks.includes(name) || fed.some((one) => one.name === name)) throw new Error(`${name} is configured: take it out of audit.sinks first, and reload`);
  if (!forgetPosition(feedDirectory(state), name)) throw new Error(`there is no position of ${name}`);
  print(`${name} is forgotten: it would begin anew`);
  return 0;
}

async function consumersOf(socket: string): Promise<readonly ConsumerReport[]> {
  const status = await callGateway(socket, 'GET', '/v1/status') as GatewayStatus | undefined;
  return status?.audit.feed?.consumers ?? [];
}
