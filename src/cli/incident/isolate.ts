import { networkFault } from '../../config/addresses.ts';
import { printable } from '../../config/issue.ts';
import { parseDuration } from '../../config/values.ts';
import type { GatewayStatus } from '../../gateway.ts';
import type { IsolationScope } from '../../admin/calls/incident.ts';
import { unmapped } from '../../policy/networks.ts';
import { describeScope } from '../../policy/suspensions.ts';
import { openDenyList, type DenyEntry } from '../../store/deny-list.ts';
import { createDenyTable } from '../../store/deny-table.ts';
import { refuseEarlierEnd } from '../../store/earlier-end.ts';
import { endSuspension, openSuspensions, readSuspensions, scopeText, type SuspensionEntry } from '../../store/suspensions.ts';
import { callGateway, why } from '../call.ts';
import { describe, namings, subjectOf, type SubjectOptions } from '../named-certificate.ts';
import { readPlaces } from '../places.ts';
import { reinstate, revoke } from '../revoke.ts';
import { runningOrAlone } from '../running-or-alone.ts';
import { usage } from '../usage.ts';
import { foresee } from './foresee.ts';
import { warningLines, warningsIn } from './warned.ts';

type Print = (text: string) => void;

export interface IsolateOptions extends SubjectOptions {
  readonly device?: string;
  readonly address?: string;
  readonly for?: string;
  readonly reason?: string;
  readonly lift?: true;
  readonly dryRun?: true;
}

/** `wardgate isolate`: a certificate goes to the deny list; of a network or a device every connection is closed. On the running gateway, or in its state when none runs. */
export async function isolate(options: IsolateOptions, print: Print): Promise<number> {
  const { reason, device, address } = options;
  const lifetime = options.for === undefined ? undefined : parseDuration(options.for);
  if (options.for !== undefined && (lifetime === undefined || lifetime === 0)) return usage(`--for: ${JSON.stringify(options.for)} is not a duration such as 2h or 30m`);
  if (reason === undefined && options.lift !== true && options.dryRun !== true) return usage('--reason: say why, for the record');
  const certificate = namings(options).length > 0;
  if ([certificate, device !== undefined, address !== undefined].filter(Boolean).length !== 1) return usage('give exactly one of --cert, --serial (with --issuer), --fingerprint, --key, --id, --whole-issuer, --device and --address');
  if (certificate) return isolateCertificate(options, print);
  const scope = scopeOf(options);
  if (typeof scope === 'string') return usage(scope);
  if (options.dryRun === true) return foresee(options, { hit: scope.network === undefined ? { kind: 'device', device: scope.device ?? '' } : { kind: 'network', network: scope.network }, text: describeScope(scope) }, print);
  if (options.lift === true) return lift(options, scope, print);
  const now = Date.now();
  const order = { ...scope, reason: reason ?? '', who: options.who, ...(lifetime === undefined ? {} : { expires: new Date(now + lifetime).toISOString() }) };
  const { answer } = await runningOrAlone(options.config, '/v1/isolate', order, openSuspensions, (list) => {
    const change = { ...order, isolate: true } as const;
    refuseEarlierEnd('it is isolated', list.entries(now).find((entry) => scopeText(entry) === scopeText(change)), change.expires, now);
    list.apply({ op: 'suspend', ...change, at: list.timeOf(change, now) });
  });
  const where = answer === undefined ? 'in the state of the gateway, which is not running' : 'on the running gateway';
  const warnings = warningsIn(answer);
  print(options.json === true ? JSON.stringify({ isolated: scope, ...(order.expires === undefined ? {} : { until: order.expires }), running: answer !== undefined, warnings })
    : [`isolated ${printable(describeScope(scope))}${order.expires === undefined ? '' : `, until ${order.expires}`}, ${where}`, ...warningLines(warnings)].join('\n'));
  return 0;
}

async function isolateCertificate(options: IsolateOptions, print: Print): Promise<number> {
  if (options.dryRun === true) {
    const subject = await subjectOf(options);
    return typeof subject === 'string' ? usage(subject) : foresee(options, { hit: subject, text: describe(subject) }, print);
  }
  if (options.lift === true) return reinstate(options, print);
  return revoke({ ...options, reason: options.reason ?? '', ...(options.for === undefined ? {} : { expires: options.for }) }, print);
}

async function lift(options: IsolateOptions, scope: IsolationScope, print: Print): Promise<number> {
  const { answer, result } = await runningOrAlone(options.config, '/v1/isolate/lift', { ...scope, who: options.who, ...why(options) }, openSuspensions, (list) => endSuspension(list, { ...scope, isolate: true }, options.who, Date.now()));
  const lifted = (answer as { readonly lifted: boolean } | undefined)?.lifted ?? result === true;
  print(options.json === true ? JSON.stringify({ lifted, scope }) : `${lifted ? 'let in again:' : 'was not isolated:'} ${printable(describeScope(scope))}`);
  return lifted ? 0 : 1;
}

/** `wardgate isolate list`: what is cut off, and until when. */
export async function listIsolated({ config, json }: { readonly config: string; readonly json?: boolean }, print: Print): Promise<number> {
  const { state, socket } = readPlaces(config);
  const status = await callGateway(socket, 'GET', '/v1/status') as GatewayStatus | undefined;
  const isolated = (status?.suspensions ?? readSuspensions(state, Date.now())).filter((entry) => entry.isolate === true);
  const denied = status?.deny_list ?? deniedAlone(state);
  if (json === true) print(JSON.stringify({ running: status !== undefined, isolated, denied }));
  else print([...isolated.map((entry) => line(describeScope(entry), entry)), ...denied.map((entry) => line(describe(entry), entry)), ...(isolated.length + denied.length === 0 ? ['nothing is isolated'] : [])].join('\n'));
  return 0;
}

/** Whoever looks beside a gateway that does not run changes nothing of its list. */
function deniedAlone(state: string): readonly DenyEntry[] {
  const list = openDenyList(state, createDenyTable());
  try {
    return list.entries();
  } finally {
    list.close();
  }
}

function line(what: string, { reason, who, at, expires }: SuspensionEntry | DenyEntry): string {
  return printable(`${what} (${reason}, ${who}, ${at}${expires === undefined ? '' : `, until ${expires}`})`);
}

function scopeOf({ device, address }: IsolateOptions): IsolationScope | string {
  if (address === undefined) return { device: device ?? '' };
  // Logs write IPv4 as dual-stack sockets see it.
  const network = unmapped(address.toLowerCase());
  const fault = networkFault(network);
  return fault === undefined ? { network } : `--address: ${fault}; got ${JSON.stringify(address)}`;
}
