import type { Command } from 'commander';
import { formatAddress } from '../config/addresses.ts';
import { printable } from '../config/issue.ts';
import type { GatewayStatus } from '../gateway.ts';
import { describeScope } from '../policy/suspensions.ts';
import { callGateway } from './call.ts';
import { counted } from './counted.ts';
import type { CommandGround } from './ground.ts';
import { describe } from './named-certificate.ts';
import { readPlaces } from './places.ts';

interface StatusOptions {
  readonly config: string;
  readonly json?: boolean;
}

/** Adds `status` to the program. */
export function addStatusCommand(program: Command, { configOption, jsonOption, print, settle }: CommandGround): void {
  program.command('status').description('what the running gateway does')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate status -c /etc/wardgate/wardgate.yaml --json')
    .action(settle((options: StatusOptions) => status(options, print)));
}

/** `wardgate status`: exit 1 when no gateway answers. */
export async function status(options: StatusOptions, print: (text: string) => void): Promise<number> {
  const answer = await callGateway(readPlaces(options.config).socket, 'GET', '/v1/status') as GatewayStatus | undefined;
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  print(options.json === true ? JSON.stringify(answer) : formatStatus(answer));
  return 0;
}

function feedLines({ up, restarts, consumers }: NonNullable<GatewayStatus['audit']['feed']>): readonly string[] {
  return [
    ...(up ? [] : [`feed          DOWN: records are handed to nobody, and kept; restarted ${restarts} times`]),
    ...consumers.map(({ name, lag, failing, dead_letters: dead }) => (
      `feed          ${name}: ${lag.records} records behind${dead === 0 ? '' : `, ${dead} dead letters`}${failing === undefined ? '' : `, FAILING: ${failing}`}`
    )),
  ];
}

function formatStatus(status: GatewayStatus): string {
  const { config } = status;
  const lines = [
    `pid           ${status.pid}`,
    `configuration ${config.file} (${config.digest.slice(0, 12)}), loaded ${config.loaded_at}`,
    ...(config.last_error === undefined ? [] : [`last reload   failed: ${config.last_error}`]),
    `certificates  read ${status.certificates.read_at}`,
    ...(status.certificates.failing === undefined ? [] : [`  NOT READ    since ${status.certificates.failing.since}: ${status.certificates.failing.detail}`]),
    ...status.certificates.servers.map(serverLine),
    ...status.unread.map((what) => `NOT READ      ${what}`),
    ...status.temporary.map(({ use, listener, name, serial, not_after: end }) => `  TEMPORARY   ${use === 'server' ? `listener ${listener}` : name}, serial ${serial}, until ${end}: to be replaced`),
    ...status.backups.flatMap(({ run, last, due, missed }) => (due === undefined && last === undefined ? [] : [`${run === 'create' ? 'backup        last made' : 'restore test  last passed'} ${last ?? 'never'}${due === undefined ? '' : `, ${missed ? 'OVERDUE since' : 'next by'} ${due}`}`])),
    `threads       ${status.threads}`,
    `connections   ${status.connections}`,
    ...status.listeners.map((listener) => `listener      ${listener.name} ${formatAddress(listener)}`),
    ...status.crls.report.map((crl) => `crl           ${crl.issuer}: ${counted(crl.entries, 'entry', 'entries')}, next update ${crl.nextUpdate === undefined ? 'never' : new Date(crl.nextUpdate).toISOString()}`),
    ...status.crls.problems.map((problem) => `crl unusable  ${problem.source}: ${problem.detail}`),
    ...status.crls.sources.map((source) => `source        ${source.source}: ${counted(source.entries, 'entry', 'entries')}, ${freshness(source)}`),
    ...status.ocsp.responders.map((responder) => `responder     ${responder.responder}: ${freshness(responder)}`),
    `ocsp          ${status.ocsp.cached} answers at hand`,
    ...status.upstreams.flatMap(upstreamLines),
    ...status.tokens.map(({ tokens, from, keys, fetched_at: at, failure }) => `tokens        ${tokens}: ${counted(keys, 'key')} from ${from}${at === undefined ? '' : `, fetched ${at}`}${failure === undefined ? '' : `, FAILING: ${failure}`}`),
    ...(status.store === undefined ? [] : [`store         ${status.store.connected ? 'connected' : `AWAY: ${status.store.error ?? 'not connected'}`}, synchronized ${status.store.synchronized_at ?? 'never'}`]),
    ...(status.audit.feed === undefined ? [] : feedLines(status.audit.feed)),
    `deny list     ${counted(status.deny_list.length, 'entry', 'entries')}`,
    ...status.deny_list.map((entry) => `  denied      ${describe(entry)} (${entry.reason}, ${entry.who}, ${entry.at})`),
    ...status.transfers.map(({ id, roles }) => `transferred   ${id}: ${roles.join(', ')}`),
    ...status.suspensions.map((entry) => `${entry.isolate === true ? 'isolated      ' : 'suspended     '}${describeScope(entry)} (${entry.reason}, ${entry.who}, ${entry.at}${entry.expires === undefined ? '' : `, until ${entry.expires}`})`),
    ...status.draining.map(({ listener, who, since }) => `DRAINING      ${listener === undefined ? 'every listener for clients' : `listener ${listener}`} takes nothing new (${who}, ${since})`),
    ...status.maintenance.map(({ route, reason, until }) => `maintenance   route ${route} (${reason}), until ${until}`),
    `break-glass   ${status.break_glass.open} open, ${status.break_glass.unreviewed} to be reviewed`,
    ...(status.alarms === undefined ? [] : [`alarms        ${status.alarms.open} open${status.alarms.channels.map(({ name, pending }) => (pending === 0 ? '' : `, ${pending} not yet told to ${name}`)).join('')}`]),
    ...status.ending.ending.map(({ use, tier, count }) => `ending        ${count} ${use}: ${tier}`),
    `audit         ${status.audit.directory}${status.audit.failing.length === 0 ? '' : ` FAILING: ${status.audit.failing.join('; ')}`}`,
  ];
  // What others told, over the admin API or a store.
  return lines.map(printable).join('\n');
}

function serverLine({ listener, certificate, key_type, not_after, state, detail, serving, ocsp }: GatewayStatus['certificates']['servers'][number]): string {
  const shown = ocsp === undefined ? '' : ocsp.shown_until === undefined ? `, no OCSP answer${ocsp.last_error === undefined ? '' : ` (${ocsp.last_error.detail})`}` : `, OCSP answer until ${ocsp.shown_until}`;
  return `  server      ${listener} ${certificate} (${key_type}, until ${not_after}): ${serving ? 'serves' : 'stands by'}${state === 'usable' ? '' : `, NOT USABLE (${state}): ${detail ?? ''}`}${shown}`;
}

function upstreamLines({ upstream, active, endpoints }: GatewayStatus['upstreams'][number]): readonly string[] {
  return [
    `upstream      ${upstream}: ${active} under way`,
    ...endpoints.flatMap(({ endpoint, up, addresses, lookups }) => [
      `  endpoint    ${endpoint}: ${up ? 'up' : 'DOWN'}${lookups?.error === undefined ? '' : `, last look-up failed: ${lookups.error}`}`,
      ...addresses.map(({ address, state, active: own, left, detail, last_error: error }) => [
        `    address   ${address}: ${state}, ${own} under way`, ...(left === undefined ? [] : [`tried again in ${Math.ceil(left / 1_000)} s`]), ...(detail === undefined ? [] : [detail]), ...(error === undefined ? [] : [`last error ${error.at}: ${error.detail}`]),
      ].join(', ')),
    ]),
  ];
}

type Freshness = GatewayStatus['ocsp']['responders'][number] | GatewayStatus['crls']['sources'][number];

function freshness(source: Freshness): string {
  const { last_success: success, last_error: error } = source;
  return [
    ...('next_update' in source ? [`this update ${source.this_update}, next update ${source.next_update}`] : []),
    ...(success === undefined ? [] : [`last success ${success}`]),
    ...(error === undefined ? [] : [`last error${error.at === undefined ? '' : ` ${error.at}`}: ${error.detail}`]),
  ].join(', ') || 'nothing yet';
}
