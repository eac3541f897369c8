import type { Command } from 'commander';
import { loadSnapshot } from '../config/snapshot.ts';
import { networkFault } from '../config/addresses.ts';
import { printable } from '../config/issue.ts';
import { parseDuration } from '../config/values.ts';
import { concernedRoutes, type ConcernedRoute } from '../concern.ts';
import { describeScope, type SuspensionScope } from '../policy/suspensions.ts';
import { asOwnerOf } from '../store/as-owner.ts';
import { endSuspension, openSuspensions, readSuspensions } from '../store/suspensions.ts';
import { unknownIn } from '../suspensions.ts';
import type { Concerned, ConcernedClient } from '../thread-protocol.ts';
import { callGateway } from './call.ts';
import type { CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';
import { runningOrAlone } from './running-or-alone.ts';
import { usage } from './usage.ts';

type Print = (text: string) => void;

interface ScopeOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly route?: string;
  readonly listener?: string;
  readonly role?: string;
  readonly network?: string;
  readonly outside?: boolean;
  readonly who: string;
  readonly dryRun?: boolean;
}

/** Adds `suspend` and `resume` to the program. */
export function addSuspendCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const scope = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .option('--route <name>', 'a route')
    .option('--listener <name>', 'a listener')
    .option('--role <role>', 'clients with a role')
    .option('--network <cidr>', 'clients from a network')
    .option('--outside', 'only clients from outside networks.inside')
    .option('--dry-run', 'say whom it concerns, and change nothing')
    .option('--who <name>', 'on whose behalf', user);
  scope(program.command('suspend').description('stop serving a route, a listener, a role or a network: 503 at once, open streams end; several options narrow each other'))
    .requiredOption('--reason <text>', 'why, for the record')
    .option('--for <duration>', 'resume by itself after this time, such as 2h')
    .addHelpText('after', "\nExamples:\n  wardgate suspend --route prescriptions --reason 'wrong doses' --dry-run\n  wardgate suspend --route prescriptions --outside --reason 'attack from outside' --for 2h\n  wardgate suspend --role device --network 10.7.0.0/16 --reason 'kiosks on the third floor'")
    .action(settle((options: never) => suspend(options, print)));
  scope(program.command('resume').description('serve again what was suspended, named by the same options'))
    .option('--reason <text>', 'why, for the record')
    .addHelpText('after', '\nExample:\n  wardgate resume --route prescriptions --outside')
    .action(settle((options: never) => resume(options, print)));
}

/** `wardgate suspend`: on the running gateway, or in its state when none runs. */
async function suspend(options: ScopeOptions & { readonly reason: string; readonly for?: string }, print: Print): Promise<number> {
  const scope = scopeOf(options);
  if (typeof scope === 'string') return usage(scope);
  const lifetime = options.for === undefined ? undefined : parseDuration(options.for);
  if (options.for !== undefined && (lifetime === undefined || lifetime === 0)) return usage(`--for: ${JSON.stringify(options.for)} is not a duration such as 2h or 30m`);
  if (options.dryRun === true) return foresee(options, scope, print);
  const now = Date.now();
  const order = { ...scope, reason: options.reason, who: options.who, ...(lifetime === undefined ? {} : { expires: new Date(now + lifetime).toISOString() }) };
  const { answer } = await runningOrAlone(options.config, '/v1/suspend', order, openSuspensions, (list) => list.apply({ op: 'suspend', ...order, at: list.timeOf(scope, now) }));
  if (answer === undefined) await warnOfUnknown(options.config, scope);
  const where = answer === undefined ? 'in the state of the gateway, which is not running' : 'on the running gateway';
  const until = order.expires === undefined ? '' : `, until ${order.expires}`;
  print(options.json === true ? JSON.stringify({ suspended: scope, ...(order.expires === undefined ? {} : { until: order.expires }), running: answer !== undefined }) : `suspended ${describeScope(scope)}${until}, ${where}`);
  return 0;
}

/** `wardgate resume`: exit 1 when it was not suspended. */
async function resume(options: ScopeOptions & { readonly reason?: string }, print: Print): Promise<number> {
  const scope = scopeOf(options);
  if (typeof scope === 'string') return usage(scope);
  if (options.dryRun === true) return foresee(options, scope, print);
  const { answer, result } = await runningOrAlone(options.config, '/v1/resume', { ...scope, who: options.who, ...(options.reason === undefined ? {} : { reason: options.reason }) }, openSuspensions, (list) => endSuspension(list, scope, options.who, Date.now()));
  const resumed = (answer as { resumed: boolean } | undefined)?.resumed ?? result === true;
  if (options.json === true) print(JSON.stringify({ resumed, scope }));
  else print(resumed ? `resumed ${describeScope(scope)}` : [`was not suspended: ${describeScope(scope)}`, ...suspendedLines(options.config)].join('\n'));
  return resumed ? 0 : 1;
}

/** What is suspended by order: to resume it takes the options that suspended it. */
function suspendedLines(config: string): readonly string[] {
  const { state } = readPlaces(config);
  const entries = asOwnerOf(state, () => readSuspensions(state, Date.now())).filter(({ isolate }) => isolate !== true);
  return entries.length === 0 ? ['nothing is'] : entries.map((entry) => printable(`suspended is: ${describeScope(entry)} (${entry.reason}, ${entry.who}, ${entry.at})`));
}

/** What a scope would hit: nothing is changed. */
async function foresee({ config, json }: ScopeOptions, scope: SuspensionScope, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(config).socket, 'POST', '/v1/concerned', scope) as (Concerned & { readonly routes: readonly ConcernedRoute[] }) | undefined;
  const routes = answer?.routes ?? await routesOf(config, scope);
  if (json === true) print(JSON.stringify({ scope, running: answer !== undefined, ...answer, routes }));
  else print([`concerned: ${describeScope(scope)}; nothing was changed`, ...routes.map(routeLine), ...(answer === undefined ? ['the gateway is not running'] : concernedLines(answer))].join('\n'));
  return 0;
}

function routeLine({ route, allow }: ConcernedRoute): string {
  return `route         ${route} (${allow.join(', ')})`;
}

function concernedLines({ connections, may_use: mayUse, under_way: underWay, clients }: Concerned): readonly string[] {
  const named = clients.reduce((sum, client) => sum + client.connections, 0);
  return [
    `connections   ${connections} open${mayUse === undefined ? '' : ' that have used it'}, ${underWay} requests and streams under way`,
    ...(mayUse === undefined ? [] : [`              ${mayUse} open are of clients that may use it`]),
    ...clients.map((client) => `client        ${clientText(client)}: ${client.connections}`),
    ...(named < connections ? [`              and ${connections - named} more connections`] : []),
  ].map(printable);
}

function clientText({ role, id, address }: ConcernedClient): string {
  return role === undefined ? `without a role, ${address}` : `${role} ${id}, ${address}`;
}

/** From the configuration alone. Throws when it names what is not configured. */
async function routesOf(config: string, scope: SuspensionScope): Promise<readonly ConcernedRoute[]> {
  const loaded = await loadSnapshot(config, { now: Date.now() });
  if (loaded.kind === 'invalid') return [];
  const unknown = unknownIn(scope, loaded.snapshot.config);
  if (unknown !== undefined) throw new Error(unknown);
  return concernedRoutes(scope, loaded.snapshot.config);
}

/** The running gateway refuses such a scope; for one that does not run it may be right by the time that it starts. */
async function warnOfUnknown(config: string, scope: SuspensionScope): Promise<void> {
  const loaded = await loadSnapshot(config, { now: Date.now() });
  const unknown = loaded.kind === 'invalid' ? undefined : unknownIn(scope, loaded.snapshot.config);
  if (unknown !== undefined) process.stderr.write(`wardgate: warning: ${unknown}\n`);
}

function scopeOf({ route, listener, role, network, outside }: ScopeOptions): SuspensionScope | string {
  if ([route, listener, role, network, outside].every((given) => given === undefined)) return 'name what is meant: --route, --listener, --role, --network, --outside, or several of them';
  const fault = network === undefined ? undefined : networkFault(network);
  if (fault !== undefined) return `--network: ${fault}; got ${JSON.stringify(network)}`;
  return {
    ...(route === undefined ? {} : { route }), ...(listener === undefined ? {} : { listener }), ...(role === undefined ? {} : { role }),
    ...(network === undefined ? {} : { network: network.toLowerCase() }), ...(outside === true ? { outside } : {}),
  };
}
