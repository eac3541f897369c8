import { readFileSync } from 'node:fs';
import { parseDuration } from '../config/values.ts';
import { loadSnapshot } from '../config/snapshot.ts';
import type { GatewayStatus } from '../gateway.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { formatName, parseNameText, type NameText } from '../pki/name.ts';
import { pemBlocks } from '../pki/pem.ts';
import { describeScope } from '../policy/suspensions.ts';
import { deniedOf, openDenyList, readDenyList, type DenyList, type DenySubject } from '../store/deny-list.ts';
import { createDenyTable } from '../store/deny-table.ts';
import { callGateway } from './call.ts';
import { counted } from './counted.ts';
import { foresee } from './incident/foresee.ts';
import { runningOrAlone } from './running-or-alone.ts';
import { readPlaces } from './places.ts';
import { standingLines, stillRevoked } from './still-revoked.ts';
import { usage } from './usage.ts';

/** As much of a certificate's name as an entry of the deny list takes. */
const MOST_NAME = 1_000;

type Print = (text: string) => void;
interface Common {
  readonly config: string;
  readonly json?: boolean;
}
export interface SubjectOptions extends Common {
  readonly cert?: string;
  readonly serial?: string;
  readonly issuer?: string;
  readonly fingerprint?: string;
  readonly key?: string;
  readonly wholeIssuer?: string;
  readonly id?: string;
  readonly who: string;
}

/** `wardgate revoke`: on the running gateway's deny list, or in its state when none runs. */
export async function revoke(options: SubjectOptions & { reason: string; expires?: string; dryRun?: true }, print: Print): Promise<number> {
  const subject = await subjectOf(options);
  if (typeof subject === 'string') return usage(subject);
  if (options.dryRun === true) return foresee(options, { hit: subject, text: describe(subject) }, print);
  const at = new Date();
  const lifetime = options.expires === undefined ? undefined : parseDuration(options.expires);
  if (options.expires !== undefined && lifetime === undefined) return usage(`--expires: ${JSON.stringify(options.expires)} is not a duration such as 12h or 7d`);
  const entry = {
    ...subject, reason: options.reason, who: options.who,
    ...(lifetime === undefined ? {} : { expires: new Date(at.getTime() + lifetime).toISOString() }),
  };
  const { answer } = await runningOrAlone(options.config, '/v1/deny', entry, openAlone, (list) => list.apply({ op: 'deny', ...entry, at: list.timeOf(entry, at.getTime()) }));
  const where = answer === undefined ? 'in the state of the gateway, which is not running' : 'on the running gateway';
  print(options.json === true ? JSON.stringify({ denied: subject, running: answer !== undefined }) : `denied ${describe(subject)}, ${where}`);
  return 0;
}

/** `wardgate reinstate`: exit 1 when it was not on the list. Says what else has the certificate revoked, which it cannot lift. */
export async function reinstate(options: SubjectOptions & { readonly reason?: string; readonly dryRun?: true }, print: Print): Promise<number> {
  const subject = await subjectOf(options);
  if (typeof subject === 'string') return usage(subject);
  const standing = await stillRevoked(options, subject);
  if (options.dryRun === true) {
    const listed = deniedOf(readDenyList(readPlaces(options.config).state, createDenyTable()), subject).length > 0;
    const would = `${listed ? 'would be reinstated:' : 'is not on the deny list:'} ${describe(subject)}; nothing was changed`;
    print(options.json === true ? JSON.stringify({ dry_run: true, reinstated: listed, subject, ...standing }) : [would, ...standingLines(standing)].join('\n'));
    return listed ? 0 : 1;
  }
  const { answer, result } = await runningOrAlone(options.config, '/v1/reinstate', { ...subject, who: options.who, ...why(options) }, openAlone, (list) => liftFrom(list, subject, options.who));
  const reinstated = (answer as { reinstated: boolean } | undefined)?.reinstated ?? result === true;
  print(options.json === true ? JSON.stringify({ reinstated, subject, ...standing }) : [`${reinstated ? 'reinstated' : 'was not on the deny list:'} ${describe(subject)}`, ...standingLines(standing)].join('\n'));
  return reinstated ? 0 : 1;
}

/** The reason that was given, as a call takes it. */
export function why({ reason }: { readonly reason?: string }): { readonly reason?: string } {
  return reason === undefined ? {} : { reason };
}

/** Nobody looks at its table. */
function openAlone(state: string): DenyList {
  return openDenyList(state, createDenyTable());
}

function liftFrom(list: DenyList, subject: DenySubject, who: string): boolean {
  const meant = deniedOf(list, subject);
  for (const one of meant) list.apply({ op: 'reinstate', ...one, who, at: list.timeOf(one, Date.now()) });
  return meant.length > 0;
}

/** `wardgate reload`: exit 1, with the issues, when the running gateway did not take the configuration. */
export async function reload(options: Common & { readonly certificates?: true; readonly who: string; readonly reason?: string }, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(options.config).socket, 'POST', options.certificates === true ? '/v1/certificates/reload' : '/v1/reload', { who: options.who, ...why(options) });
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  const { changed } = answer as { readonly changed?: readonly string[] };
  print(options.json === true ? JSON.stringify(answer) : changed === undefined ? 'reloaded' : changed.length === 0 ? 'nothing has changed' : `read again: ${changed.join(', ')}`);
  return 0;
}

/** `wardgate status`: exit 1 when no gateway answers. */
export async function status(options: Common, print: Print): Promise<number> {
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
    ...status.temporary.map(({ use, listener, name, serial, not_after: end }) => `  TEMPORARY   ${use === 'server' ? `listener ${listener}` : name}, serial ${serial}, until ${end}: to be replaced`),
    ...status.backups.flatMap(({ run, last, due, missed }) => (due === undefined && last === undefined ? [] : [`${run === 'create' ? 'backup        last made' : 'restore test  last passed'} ${last ?? 'never'}${due === undefined ? '' : `, ${missed ? 'OVERDUE since' : 'next by'} ${due}`}`])),
    `threads       ${status.threads}`,
    `connections   ${status.connections}`,
    ...status.listeners.map(({ name, host, port }) => `listener      ${name} ${host}:${port}`),
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
    ...status.draining.map(({ listener, who, since }) => `DRAINING      ${listener === undefined ? 'every listener' : `listener ${listener}`} takes nothing new (${who}, ${since})`),
    ...status.maintenance.map(({ route, reason, until }) => `maintenance   route ${route} (${reason}), until ${until}`),
    `break-glass   ${status.break_glass.open} open, ${status.break_glass.unreviewed} to be reviewed`,
    ...(status.alarms === undefined ? [] : [`alarms        ${status.alarms.open} open${status.alarms.channels.map(({ name, pending }) => (pending === 0 ? '' : `, ${pending} not yet told to ${name}`)).join('')}`]),
    ...status.ending.ending.map(({ use, tier, count }) => `ending        ${count} ${use}: ${tier}`),
    `audit         ${status.audit.directory}${status.audit.failing.length === 0 ? '' : ` FAILING: ${status.audit.failing.join('; ')}`}`,
  ];
  return lines.join('\n');
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
      ...addresses.map(({ address, state, active: own, left, detail }) => [
        `    address   ${address}: ${state}, ${own} under way`, ...(left === undefined ? [] : [`tried again in ${Math.ceil(left / 1_000)} s`]), ...(detail === undefined ? [] : [detail]),
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

export async function subjectOf(options: SubjectOptions): Promise<DenySubject | string> {
  const given = [options.cert, options.serial, options.fingerprint, options.key, options.wholeIssuer, options.id].filter((value) => value !== undefined);
  if (given.length !== 1) return 'give exactly one of --cert, --serial (with --issuer), --fingerprint, --key, --whole-issuer and --id';
  if (options.id !== undefined) return { kind: 'identity', id: options.id };
  if (options.wholeIssuer !== undefined) return { kind: 'issuer', ...await findIssuer(options.wholeIssuer, '--whole-issuer', options.config) };
  if (options.key !== undefined) {
    const key = /^[0-9a-fA-F:]{64,95}$/.test(options.key) ? options.key.replaceAll(':', '').toLowerCase() : keyOf(options.key);
    return key.length === 64 ? { kind: 'key', key } : `--key: ${JSON.stringify(options.key)} is neither a certificate nor the SHA-256 of a public key in hex`;
  }
  if (options.cert !== undefined) {
    const [block] = pemBlocks(readFileSync(options.cert, 'utf8'), 'CERTIFICATE');
    if (block === undefined) return `${options.cert}: holds no certificate`;
    const { sha256, subject } = parseCertificate(block.der);
    return { kind: 'fingerprint', fingerprint: sha256, subject_text: formatName(subject).slice(0, MOST_NAME) };
  }
  if (options.fingerprint !== undefined) {
    const fingerprint = options.fingerprint.replaceAll(':', '').toLowerCase();
    return /^[0-9a-f]{64}$/.test(fingerprint) ? { kind: 'fingerprint', fingerprint } : `--fingerprint: ${JSON.stringify(options.fingerprint)} is not a SHA-256 in hex (64 digits)`;
  }
  const serial = (options.serial as string).replaceAll(':', '').replace(/^0x/i, '').toLowerCase().replace(/^(?:00)+(?=.)/, '');
  if (!/^[0-9a-f]{1,64}$/.test(serial)) return `--serial: ${JSON.stringify(options.serial)} is not a hexadecimal number`;
  if (options.issuer === undefined) return '--serial needs --issuer: serial numbers are only unique within one CA';
  return { kind: 'serial', serial: evenHex(serial), ...await findIssuer(options.issuer, '--issuer', options.config) };
}

/**
 * The issuer as the configuration's CAs spell it. Tools print names in both orders, and a name in the wrong one would deny
 * nobody; so either order finds a configured CA, and a name that fits none is taken as RFC 4514 has it, with a warning.
 */
async function findIssuer(text: string, option: string, config: string): Promise<{ issuer: string; issuer_text: string }> {
  const name = parseNameOption(text, option);
  const reversed = parseNameText(text.split(/(?<!\\),/).reverse().join(','));
  const loaded = await loadSnapshot(config, { now: Date.now() });
  const known = loaded.kind === 'invalid' ? [] : Object.values(loaded.snapshot.listeners)
    .flatMap((listener) => listener.realms.flatMap((realm) => [...realm.anchors, ...realm.intermediates]))
    .map((der) => parseCertificate(der).subject);
  const found = known.find((one) => one.normalized === name.normalized) ?? known.find((one) => one.normalized === reversed.normalized);
  if (found !== undefined) return { issuer: found.normalized, issuer_text: formatName(found) };
  const names = [...new Set(known.map(formatName))];
  process.stderr.write(`wardgate: warning: no configured CA is named ${JSON.stringify(text)}; known: ${names.join(' | ') || 'none'}\n`);
  return { issuer: name.normalized, issuer_text: text };
}

function parseNameOption(text: string, option: string): NameText {
  try {
    return parseNameText(text);
  } catch {
    throw new Error(`${option}: ${JSON.stringify(text)} is not a name; expected one such as 'CN=Hospital CA,O=Hospital'`);
  }
}

function evenHex(serial: string): string {
  return serial.length % 2 === 0 ? serial : `0${serial}`;
}

/** The SHA-256 of the public key in a certificate file. */
function keyOf(file: string): string {
  const [block] = pemBlocks(readFileSync(file, 'utf8'), 'CERTIFICATE');
  return block === undefined ? '' : parseCertificate(block.der).spkiSha256;
}

export function describe(subject: DenySubject): string {
  switch (subject.kind) {
    case 'fingerprint': return `certificate ${subject.fingerprint}${subject.subject_text === undefined ? '' : ` of ${subject.subject_text}`}`;
    case 'serial': return `serial ${subject.serial} of ${subject.issuer_text}`;
    case 'key': return `every certificate of the key ${subject.key}`;
    case 'issuer': return `every certificate of ${subject.issuer_text}`;
    case 'identity': return `every certificate of the id ${subject.id}`;
    case 'departed': return `every certificate of the id ${subject.id}, which ${subject.told_by === undefined ? 'has left or was scrapped' : subject.told_by === 'hr' ? 'has left' : 'was scrapped'}`;
  }
}
