import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { clientsOnRecord, type ClientOnRecord } from '../audit/clients.ts';
import { openEvidence } from '../audit/evidence.ts';
import { parseDuration } from '../config/values.ts';
import { parseCertificate, type Certificate } from '../pki/certificate.ts';
import { formatName } from '../pki/name.ts';
import { createPool, validatePath, withIntermediates } from '../pki/path.ts';
import { pemBlocks } from '../pki/pem.ts';
import type { AnchorReport, StandingReport, TrustPreview } from '../trust-change.ts';
import { auditPlaces, noteUse } from './archive.ts';
import { callGateway } from './call.ts';
import { counted } from './counted.ts';
import type { CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';
import { usage } from './usage.ts';

type Print = (text: string) => void;

interface ListOptions {
  readonly config: string;
  readonly json?: boolean;
}

interface PreviewOptions extends ListOptions {
  readonly candidate?: string;
  readonly without?: readonly string[];
  readonly since: string;
  readonly who: string;
}

/** Certificates on record that would be refused, and how many of which that cannot be told. */
interface OnRecord {
  /** ISO 8601 */
  readonly since: string;
  readonly refused: readonly ClientOnRecord[];
  /** Their issuers are not known here: neither configured, nor brought by a client lately. */
  readonly unknown: number;
  /** Records of certificates of which there was no room to look at more. */
  readonly left: number;
}

/** Some are cut off. */
const EXIT_CONCERNED = 3;
const SHORT = 16;
/** Clients and certificates that text lists; --json has all that there is. */
const MOST_LISTED = 50;

/** Adds `trust` to the program. */
export function addTrustCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const trust = program.command('trust').description('trust anchors: what stands on each, and whom a change would cut off')
    .addHelpText('after', '\nExamples:\n  wardgate trust list\n  wardgate trust preview --without old-ca.pem\n  wardgate trust preview --candidate wardgate.next.yaml --since 90d');
  trust.command('list').description('the anchors in force, by listener and name, with the connections and certificates that stand on each')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate trust list --json')
    .action(settle((options: ListOptions) => list(options, print)));
  trust.command('preview').description('which anchors would come and go, and whom that would cut off; changes nothing; exit status 3 when somebody would be')
    .option(...configOption).option(...jsonOption)
    .option('--without <fingerprint|file>', 'as if this anchor, or those of this certificate file, were no longer trusted; may be given again', (value: string, before: readonly string[] = []) => [...before, value])
    .option('--candidate <file>', 'by another configuration than the gateway\'s own')
    .option('--since <duration>', 'look at certificates on record for so long', '30d')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExamples:\n  wardgate trust preview --without anchors/old-ca.pem\n  wardgate trust preview --without 9f86d081884c7d65\n  wardgate trust preview --candidate wardgate.next.yaml --since 90d --json')
    .action(settle((options: PreviewOptions) => preview(options, print)));
}

/** `wardgate trust list`: exit 1 when no gateway answers. */
async function list({ config, json }: ListOptions, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(config).socket, 'GET', '/v1/trust') as { readonly anchors: readonly StandingReport[] } | undefined;
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  print(json === true ? JSON.stringify(answer) : answer.anchors.map((anchor) => `${anchorText(anchor)}\n  ${counted(anchor.connections, 'open connection')}, ${counted(anchor.certificates, 'certificate')} seen lately`).join('\n'));
  return 0;
}

/** `wardgate trust preview`: exit 3 when somebody would be cut off; that certificates on record were looked at is itself on record. */
async function preview(options: PreviewOptions, print: Print): Promise<number> {
  const lookBack = parseDuration(options.since);
  if (lookBack === undefined) return usage(`--since: ${JSON.stringify(options.since)} is not a duration such as 30d`);
  const without = options.without?.flatMap(fingerprintsOf);
  const order = { ...(without === undefined ? {} : { without }) };
  const { socket } = readPlaces(options.config);
  const answer = await (options.candidate === undefined
    ? callGateway(socket, 'POST', '/v1/trust/preview', order)
    : callGateway(socket, 'POST', '/v1/trust/candidate', { ...order, config: resolve(options.candidate) })) as TrustPreview | undefined;
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  const now = Date.now();
  const record = answer.goes.length === 0 ? undefined : await lookUp(options, answer, now - lookBack, now);
  const { listeners, ...told } = answer;
  const bare = listeners.flatMap(({ listener, after }) => after.filter(({ anchors }) => anchors.length === 0).map(({ name }) => ({ listener, name })));
  print(options.json === true ? JSON.stringify({ ...told, refused: bare, ...(record === undefined ? {} : { on_record: record }) })
    : [textOf(answer, record), ...bare.map(({ listener, name }) => `REFUSED: ${listener}${name === '' ? '' : ` for ${name}`} would have no anchor left; a configuration like that is not taken, and what is in force stays`)].join('\n'));
  return answer.concerned.connections > 0 || (record?.refused.length ?? 0) > 0 ? EXIT_CONCERNED : 0;
}

/** A fingerprint or its beginning as it is; of a file those of its certificates. */
function fingerprintsOf(given: string): readonly string[] {
  const plain = given.toLowerCase().replaceAll(':', '');
  if (/^[0-9a-f]{8,64}$/.test(plain)) return [plain];
  const blocks = pemBlocks(readFileSync(given, 'latin1')).filter(({ label }) => label === 'CERTIFICATE');
  if (blocks.length === 0) throw new Error(`--without: ${JSON.stringify(given)} holds no certificate in PEM form`);
  return blocks.map(({ der }) => parseCertificate(der).sha256);
}

async function lookUp({ config, who, since }: PreviewOptions, { listeners, goes }: TrustPreview, from: number, now: number): Promise<OnRecord> {
  const places = auditPlaces(config);
  const names = [...new Set(goes.map(({ subject }) => subject))].join('; ').slice(0, 1_000);
  await noteUse(places, { who, detail: `asks whom it would cut off if it were no longer trusted, for ${since} back: ${names}` });
  const evidence = openEvidence(places.directory);
  try {
    const { clients, left } = clientsOnRecord(evidence, { from });
    const judges = new Map(listeners.map(({ listener, before, after, learnt }) => [listener, { before: judgeOf(before, learnt, now), after: judgeOf(after, learnt, now) }]));
    const current = clients.filter(({ listener, not_after: end }) => judges.has(listener) && (end === undefined || Date.parse(end) > now));
    const held = current.filter((client) => judges.get(client.listener)?.before(client) === true);
    const refused = held.filter((client) => judges.get(client.listener)?.after(client) !== true);
    return { since: new Date(from).toISOString(), refused: refused.sort((a, b) => (a.last < b.last ? 1 : -1)), unknown: current.length - held.length, left };
  } finally {
    evidence.close();
  }
}

/** Whether a client's certificate leads to an anchor under one of a listener's names: by its issuer, for records do not hold the certificate itself. */
function judgeOf(realms: TrustPreview['listeners'][number]['before'], learnt: readonly string[], now: number): (client: ClientOnRecord) => boolean {
  const read = (ders: readonly string[]): readonly Certificate[] => ders.map((der) => parseCertificate(Buffer.from(der, 'base64')));
  const brought = read(learnt);
  const pools = realms.map(({ anchors, intermediates }) => withIntermediates(createPool(read(anchors), read(intermediates)), brought));
  const pinned = new Set(pools.flatMap(({ anchors }) => anchors.map(({ sha256 }) => sha256)));
  const leading = new Set(pools.flatMap((pool) => [...pool.anchors, ...pool.intermediates]
    .filter((authority) => validatePath(authority, pool, { now, purpose: 'any' }).kind === 'valid').map(({ subject }) => formatName(subject))));
  return ({ fingerprint, issuer }) => pinned.has(fingerprint) || leading.has(issuer);
}

function textOf({ comes, goes, concerned }: TrustPreview, record: OnRecord | undefined): string {
  if (comes.length + goes.length === 0 && concerned.connections === 0) return 'no anchor would come or go, and nobody would be cut off';
  const rest = (all: readonly unknown[]): readonly string[] => (all.length > MOST_LISTED ? [`  and ${all.length - MOST_LISTED} more`] : []);
  return [
    ...comes.map((anchor) => `comes  ${anchorText(anchor)}`), ...goes.map((anchor) => `goes   ${anchorText(anchor)}`),
    `cut off now: ${counted(concerned.connections, 'open connection')}, ${concerned.under_way} requests and streams under way${countsText('roles', concerned.roles)}${countsText('routes', concerned.routes)}`,
    ...concerned.clients.slice(0, MOST_LISTED).map(({ role, id, address, connections }) => `  ${role === undefined ? 'without a role' : `${role} ${id}`}, ${address}: ${connections}`), ...rest(concerned.clients),
    ...(record === undefined ? [] : [
      `on record since ${record.since}: ${counted(record.refused.length, 'certificate')} would be refused`,
      ...record.refused.slice(0, MOST_LISTED).map(({ listener, subject, role, id, last, requests }) => `  ${subject ?? 'unknown'} on ${listener}${role === undefined ? '' : ` (${role} ${id})`}: ${counted(requests, 'request')}, last ${last}`), ...rest(record.refused),
      ...(record.unknown === 0 ? [] : [`  of ${counted(record.unknown, 'certificate')} it cannot be told: their issuers are not known here`]),
      ...(record.left === 0 ? [] : [`  ${counted(record.left, 'record')} of further certificates were not looked at: take a shorter time`]),
    ]),
  ].join('\n');
}

function anchorText({ listener, name, subject, fingerprint, not_after: end, from }: AnchorReport): string {
  return `${listener}${name === '' ? '' : ` for ${name}`}: ${subject}, until ${end.slice(0, 10)}, ${fingerprint.slice(0, SHORT)}${from === undefined ? '' : `, from ${from}`}`;
}

function countsText(what: string, counts: Readonly<Record<string, number>>): string {
  const all = Object.entries(counts).map(([name, count]) => `${name === '' ? 'none' : name} ${count}`);
  return all.length === 0 ? '' : `; ${what}: ${all.join(', ')}`;
}
