import { loadSnapshot } from '../config/snapshot.ts';
import { networkFault } from '../config/addresses.ts';
import { parseDuration } from '../config/values.ts';
import { concernedRoutes, type ConcernedRoute } from '../concern.ts';
import { describeScope, type SuspensionScope } from '../policy/suspensions.ts';
import { openSuspensions, scopeText, type SuspensionList } from '../store/suspensions.ts';
import { unknownIn } from '../suspensions.ts';
import type { Concerned, ConcernedClient } from '../thread-protocol.ts';
import { callGateway } from './call.ts';
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

/** `wardgate suspend`: on the running gateway, or in its state when none runs. */
export async function suspend(options: ScopeOptions & { readonly reason: string; readonly for?: string }, print: Print): Promise<number> {
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
export async function resume(options: ScopeOptions & { readonly reason?: string }, print: Print): Promise<number> {
  const scope = scopeOf(options);
  if (typeof scope === 'string') return usage(scope);
  if (options.dryRun === true) return foresee(options, scope, print);
  const { answer, result } = await runningOrAlone(options.config, '/v1/resume', { ...scope, who: options.who, ...(options.reason === undefined ? {} : { reason: options.reason }) }, openSuspensions, (list) => lift(list, scope, options.who));
  const resumed = (answer as { resumed: boolean } | undefined)?.resumed ?? result === true;
  print(options.json === true ? JSON.stringify({ resumed, scope }) : `${resumed ? 'resumed' : 'was not suspended:'} ${describeScope(scope)}`);
  return resumed ? 0 : 1;
}

function lift(list: SuspensionList, scope: SuspensionScope, who: string): boolean {
  const now = Date.now();
  if (!list.entries(now).some((entry) => scopeText(entry) === scopeText(scope))) return false;
  list.apply({ op: 'resume', ...scope, who, at: list.timeOf(scope, now) });
  return true;
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

function concernedLines({ connections, under_way: underWay, clients }: Concerned): readonly string[] {
  const named = clients.reduce((sum, client) => sum + client.connections, 0);
  return [
    `connections   ${connections} open, ${underWay} requests and streams under way`,
    ...clients.map((client) => `client        ${clientText(client)}: ${client.connections}`),
    ...(named < connections ? [`              and ${connections - named} more connections`] : []),
  ];
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
