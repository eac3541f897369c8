import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { formatIssue } from '../../config/load.ts';
import { loadSnapshot, type Snapshot } from '../../config/snapshot.ts';
import type { GatewayStatus } from '../../gateway.ts';
import { inNetworks, parseNetwork } from '../../policy/networks.ts';
import { callGateway } from '../call.ts';
import { counted } from '../counted.ts';
import type { CommandGround } from '../ground.ts';
import { readPlaces } from '../places.ts';
import { WrongUsage } from '../usage.ts';
import { bad, good, unknown, type Finding } from './finding.ts';
import { lookInside, NAMELESS, upstreamText } from './inside.ts';
import { lookAtMachine } from './machine.ts';
import { lookForMixedContent } from './mixed-content.ts';
import { lookFromOutside } from './outside.ts';
import { connectFailure, faultText, handshake, type Credentials, type Target } from './probe.ts';

interface DiagnoseOptions {
  readonly config: string;
  readonly url?: readonly string[];
  readonly pages?: readonly string[];
  readonly host?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
  readonly trust?: string;
  readonly all?: true;
  readonly json?: true;
}

/** Names of one listener that are tried. */
const MOST_NAMES = 8;

/** Adds `diagnose` to the program. */
export function addDiagnoseCommand(program: Command, { configOption, jsonOption, print, settle }: CommandGround, progress: (text: string) => void): void {
  const several = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
  program.command('diagnose').description('what is wrong, from the outside in: names, ports, TLS, certificates, revocation, upstreams, disk, clock; each with what to do')
    .option(...configOption).option(...jsonOption)
    .option('--url <url>', 'look from outside only, at https://HOST[:PORT]; needs no configuration; may be given again', several)
    .option('--pages <url>', 'follow links from this page, and list parts that it loads over plain HTTP; may be given again', several)
    .option('--host <name>', 'a name to try beside those of the certificates; may be given again', several)
    .option('--cert <pem>', 'a client certificate to come with')
    .option('--key <pem>', 'its private key')
    .option('--trust <pem>', "the CA that vouches for the gateway, where it is none of this machine's")
    .option('--all', 'what is good as well')
    .addHelpText('after', `
Examples:
  wardgate diagnose -c /etc/wardgate/wardgate.yaml
  wardgate diagnose -c /etc/wardgate/wardgate.yaml --cert doctor.pem --key doctor.key
  wardgate diagnose --url https://api.hospital.test --trust hospital-root.pem
  wardgate diagnose --pages https://api.hospital.test/portal/ --cert doctor.pem --key doctor.key --trust hospital-root.pem

Exit status 0: nothing is bad; 1: something is.`)
    .action(settle((options: DiagnoseOptions) => diagnose(options, print, progress)));
}

/** Looks at everything there is to look at, and prints what was found, the worst first; 1 where something is bad. */
export async function diagnose(options: DiagnoseOptions, print: (text: string) => void, progress: (text: string) => void = () => undefined): Promise<number> {
  const credentials = credentialsOf(options);
  const found: Finding[] = [];
  const outsideOnly = options.url !== undefined || options.pages !== undefined;
  for (const url of options.url ?? []) {
    progress(`looking at ${url}`);
    found.push(...await lookFromOutside(url, targetOf(url), credentials, Date.now(), false));
  }
  for (const url of options.pages ?? []) {
    progress(`following links from ${url}`);
    found.push(...await lookForMixedContent(targetUrl(url).href, credentials));
  }
  if (!outsideOnly) found.push(...await diagnoseHere(options, credentials, progress));
  print(options.json === true ? JSON.stringify({ findings: found }) : inWords(found, options.all === true));
  return found.some(({ outcome }) => outcome === 'bad') ? 1 : 0;
}

async function diagnoseHere({ config, host: names = [] }: DiagnoseOptions, credentials: Credentials, progress: (text: string) => void): Promise<readonly Finding[]> {
  progress('reading the configuration');
  const now = Date.now();
  const loaded = await loadSnapshot(config, { now });
  const checked = loaded.kind === 'ok'
    ? good('configuration', `${config} is good`)
    : bad('configuration', `${counted(loaded.issues.length, 'issue')}, the first: ${loaded.issues.slice(0, 1).map((issue) => formatIssue(issue)).join('')}`, 'wardgate check lists them all; until it is good the gateway does not start, and a reload is refused');
  const places = placesOf(config);
  const status = places === undefined ? undefined : await callGateway(places.socket, 'GET', '/v1/status') as GatewayStatus | undefined;
  const machine = await lookAtMachine(places === undefined ? [] : [places.state, ...(status === undefined ? [] : [status.audit.directory])], status?.pid);
  const inside = status === undefined ? [bad('gateway', 'is not running on this configuration', 'systemctl status wardgate, then its log; wardgate run says why it does not start')] : lookInside(status, now);
  const snapshot = loaded.kind === 'ok' ? loaded.snapshot : undefined;
  if (snapshot === undefined) return [checked, ...inside, ...machine];
  const outside = status === undefined ? [] : await listenersFromOutside(snapshot, status, names, credentials, progress);
  // A name that the gateway does not find is one fault, and said once.
  const said = new Set(inside.flatMap(({ about, remedy }) => (remedy === NAMELESS ? [about] : [])));
  const upstreams = (await upstreamsFromHere(snapshot, progress)).filter(({ about, remedy }) => remedy !== NAMELESS || !said.has(about));
  const client = credentials.certificate === undefined ? [] : await (await import('./client.ts')).clientFindings(snapshot, credentials.certificate, now);
  const responder = await responderFromHere(snapshot, inside, progress);
  return [checked, ...outside, ...client, ...inside, ...responder, ...upstreams, ...machine];
}

/** Each listener under each name that its certificates have. Its own chains vouch for it where nothing else was named. */
async function listenersFromOutside({ config, listeners }: Snapshot, status: GatewayStatus, further: readonly string[], credentials: Credentials, progress: (text: string) => void): Promise<readonly Finding[]> {
  // Whoever is turned away sees neither its TLS nor its certificates: what would be said of them is not so.
  if (status.pressure.length > 0) return [unknown('listeners', 'were not looked at from outside: the gateway runs short, and turns connections away', 'ask again once it does not')];
  const looks = config.listeners.flatMap((configured) => {
    const { name: listener } = configured;
    const bound = status.listeners.find((one) => one.name === listener);
    if (configured.protocol === 'redirect' || bound === undefined) return [];
    const host = reachable(bound.host);
    // Who connects to an address of this machine comes from that address.
    const proxied = inNetworks(host, (configured.proxy_protocol?.from ?? []).map(parseNetwork));
    const own = (listeners[listener]?.certificates ?? []).flatMap(({ names }) => names).filter((name) => !name.startsWith('*'));
    return [...new Set([...own, ...further])].slice(0, MOST_NAMES).map((name) => ({ about: `listener ${listener}, ${name}`, target: { host, port: bound.port, name, proxied } }));
  });
  const found: Finding[] = [];
  for (const { about, target } of looks) {
    progress(`looking at ${about}`);
    found.push(...await lookFromOutside(about, target, credentials, Date.now(), true));
  }
  return found;
}

/** Every endpoint, with the certificates and CAs that the gateway uses for it. */
async function upstreamsFromHere({ config, upstreams }: Snapshot, progress: (text: string) => void): Promise<readonly Finding[]> {
  const looks = Object.entries(config.upstreams).flatMap(([name, { endpoints, tls, proxy_protocol: header }]) => endpoints.map((endpoint) => ({ name, endpoint, server: tls.server_name ?? endpoint.host, proxied: header !== undefined })));
  return Promise.all(looks.map(async ({ name, endpoint: { text, host, port }, server, proxied }): Promise<Finding> => {
    const about = upstreamText(name, text);
    progress(`looking at ${about}`);
    const material = upstreams[name];
    const shown = await handshake({ host, port, name: server, proxied }, material ?? {});
    if (shown instanceof Error) return bad(about, `no TLS handshake from here: ${shown.message}`, /\b(?:ENOTFOUND|EAI_AGAIN|ENODATA)\b/.test(shown.message) ? NAMELESS : 'is it up, can this machine reach it, and does it take the gateway\'s client certificate?');
    return shown.fault === undefined ? good(about, `${shown.version}, verified as ${server}`) : bad(about, `its certificate does not verify as ${server}: ${faultText(shown.fault)}`, 'correct tls.server_name or tls.trust of the upstream, or its certificate');
  }));
}

/** The configured responder, unless the gateway says itself that it fails: while CRLs answer nobody asks it, and nobody hears that it is gone. */
async function responderFromHere({ config: { revocation: { check, sources, ocsp } } }: Snapshot, inside: readonly Finding[], progress: (text: string) => void): Promise<readonly Finding[]> {
  const { responder } = ocsp;
  const about = `responder ${responder}`;
  if (responder === undefined || check === 'off' || !sources.includes('ocsp') || inside.some((finding) => finding.about === about && finding.outcome === 'bad')) return [];
  progress(`looking at ${about}`);
  const { hostname, port, protocol } = new URL(responder);
  const failure = await connectFailure({ host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port) || (protocol === 'https:' ? 443 : 80) });
  return [failure === undefined ? good(about, 'can be reached from here') : bad(about, `cannot be reached from here: ${failure.message}`, 'start it, or correct revocation.ocsp.responder; revocation.unavailable says what holds when no source answers')];
}

/** Where somebody on this machine reaches what is bound to an address. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}

function placesOf(config: string): { readonly state: string; readonly socket: string } | undefined {
  try {
    return readPlaces(config);
  } catch {
    return undefined;
  }
}

function credentialsOf({ cert, key, trust }: DiagnoseOptions): Credentials {
  if ((cert === undefined) !== (key === undefined)) throw new WrongUsage('--cert and --key belong together');
  const read = (file: string): string => readFileSync(resolve(file), 'utf8');
  return { ...(trust === undefined ? {} : { trust: read(trust) }), ...(cert === undefined || key === undefined ? {} : { certificate: read(cert), key: read(key) }) };
}

function targetUrl(text: string): URL {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`);
  if (url === null || url.protocol !== 'https:') throw new WrongUsage(`${JSON.stringify(text)} is not a URL such as https://api.hospital.test`);
  return url;
}

function targetOf(text: string): Target {
  const { hostname, port } = targetUrl(text);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: port === '' ? 443 : Number(port), name: host };
}

const MARKS = { bad: 'BAD    ', doubt: 'doubt  ', unknown: '?      ', good: 'good   ' } as const;
const ORDER = ['bad', 'doubt', 'unknown', 'good'] as const;

function inWords(found: readonly Finding[], all: boolean): string {
  const by = (outcome: Finding['outcome']): readonly Finding[] => found.filter((one) => one.outcome === outcome);
  const shown = ORDER.filter((outcome) => all || outcome !== 'good').flatMap(by);
  const lines = shown.flatMap(({ about, outcome, detail, remedy }) => [`${MARKS[outcome]}${about}: ${detail}`, ...(remedy === undefined ? [] : [`         → ${remedy}`])]);
  const counts = `${by('bad').length} bad, ${by('doubt').length} doubtful, ${by('unknown').length} unknown, ${by('good').length} good${all ? '' : ' (--all shows these)'}`;
  return [...lines, counts].join('\n');
}
