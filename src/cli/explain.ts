import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { ConfigurationError } from '../configuration.ts';
import type { TcpListenerConfig, TlsListenerConfig } from '../config/schema.ts';
import { printable } from '../config/issue.ts';
import { loadSnapshot, type Snapshot } from '../config/snapshot.ts';
import { isKnownMethod } from '../forward/methods.ts';
import { recipientOf } from '../forward/seal/recipient.ts';
import { openKeyRegistry } from '../forward/seal/registry.ts';
import { describeAdmission } from '../describe-admission.ts';
import { SILENT } from '../log.ts';
import { createTokenDesk, issuersOf } from '../forward/token-desk.ts';
import { createKeyRegister } from '../forward/token-keys.ts';
import { openIssuerKeys } from '../issuer-keys.ts';
import { createDeviceRegister } from '../identity/devices.ts';
import { compileRoles } from '../identity/roles.ts';
import { pemBlocks } from '../pki/pem.ts';
import { ADMIN_ROUTE_CONFIG, operatorsConfig } from '../policy/admin-route.ts';
import { authorizeStream, type Expected, type StreamPolicy } from '../policy/authorize-stream.ts';
import { authorize } from '../policy/authorize.ts';
import type { Denial, Permit, Step, StreamPermit } from '../policy/decision.ts';
import { compileBindings, describeDevice } from '../policy/devices.ts';
import { COUNTED, type Admission, type Reason, type RequestFacts } from '../policy/facts.ts';
import { parseHost } from '../policy/host.ts';
import { parseNetwork, type Network } from '../policy/networks.ts';
import { judgeUnknown } from '../policy/judge/status.ts';
import { compileRates } from '../policy/limits.ts';
import { compileRoutes } from '../policy/routes.ts';
import { compileSenders, sendersFor, type Announced } from '../policy/senders.ts';
import { compileSuspensions, type Suspension } from '../policy/suspensions.ts';
import { parseTarget } from '../policy/target.ts';
import type { TokenFinding, TokenRule } from '../policy/token.ts';
import { readToldDevices, withTold } from '../store/told-devices.ts';
import { pausesOf } from '../pauses.ts';
import { readSuspensions } from '../store/suspensions.ts';
import { createContexts } from '../tls/contexts.ts';
import { openAlone } from './admit-alone.ts';
import { isolationIn } from './incident/explained.ts';
import { WrongUsage } from './usage.ts';

interface ExplainOptions {
  readonly config: string;
  readonly json?: boolean;
  /** Absent: a client that shows none. */
  readonly cert?: string;
  readonly listener?: string;
  readonly request?: string;
  readonly sender?: string;
  /** File with an access token. */
  readonly token?: string;
  readonly address: string;
}

/**
 * `wardgate explain`: takes the admission and the decision with the gateway's own code, from the configuration, the state
 * directory and the revocation sources as they are now. Exit 0 permitted, 3 denied.
 */
export async function explain(options: ExplainOptions, print: (text: string) => void): Promise<number> {
  const now = (): number => Date.now();
  if (options.cert === undefined && options.request === undefined) throw new WrongUsage('nothing to explain; expected --cert, --request or both');
  if (isIP(options.address) === 0) throw new WrongUsage(`--address: ${JSON.stringify(options.address)} is not an address; expected one such as 10.1.4.9 or 2001:db8::1`);
  const request = options.request === undefined ? undefined : parseRequest(options.request);
  const loaded = await loadSnapshot(options.config, { now: now() });
  if (loaded.kind === 'invalid') throw new ConfigurationError(loaded.issues);
  const listener = chooseListener(loaded.snapshot, options.listener);
  const snapshot = listener.name === loaded.snapshot.config.admin.listener ? forOperators(loaded.snapshot) : loaded.snapshot;
  if (options.sender !== undefined && (listener.protocol !== 'tcp' || listener.senders === undefined)) throw new WrongUsage(`--sender: the listener ${listener.name} lists no senders`);
  const steps: Step[] = [];
  const admission = options.cert === undefined ? withoutCertificate(steps) : await admit(snapshot, listener, options.cert, request?.host ?? '', now, steps);
  const isolated = isolationIn(snapshot, { admission, address: options.address, register: devicesOf(snapshot).devices?.register }, now());
  if (isolated !== undefined) steps.push({ rule: 'isolation', outcome: 'deny', detail: isolated.detail });
  const token = options.token === undefined ? undefined : readFileSync(options.token, 'utf8').trim();
  const decision = await decide(snapshot, listener, { request, sender: options.sender, address: options.address, token }, admission, now(), steps);
  const unsealable = await sealing(snapshot, decision, steps);
  const denied = isolated !== undefined || unsealable !== undefined || (decision === undefined ? admission.kind === 'refused' : decision.kind === 'denial');
  const reason = isolated === undefined ? unsealable ?? (decision?.kind === 'denial' ? decision.reason : admission.kind === 'refused' ? admission.reason : undefined) : 'isolated';
  // Admitted, and no more: what it will ask for, or say that it is, is not known.
  const result = denied ? 'denied' : decision?.kind === 'permit' ? 'permitted' : 'admitted';
  if (options.json === true) print(JSON.stringify({ result, ...(reason === undefined ? {} : { reason }), listener: listener.name, steps }));
  else print([...steps.map(formatStep), `${result}${reason === undefined ? '' : `: ${reason}`}`].join('\n'));
  return denied ? 3 : 0;
}

/** As the operators' listener has it: roles are those of admin.roles, and there is one route. */
function forOperators(snapshot: Snapshot): Snapshot {
  const config = operatorsConfig(snapshot.config);
  return { ...snapshot, config: { ...config, routes: [ADMIN_ROUTE_CONFIG], limits: { ...config.limits, rates: [] } } };
}

/** To whom the answer would be encrypted, where it is; the reason why it cannot be. */
async function sealing(snapshot: Snapshot, decision: Decision | undefined, steps: Step[]): Promise<Reason | undefined> {
  if (decision?.kind !== 'permit' || !('route' in decision)) return undefined;
  const directory = decision.route.config.encrypt?.keys;
  const registries = new Map(directory === undefined ? [] : [[directory, openKeyRegistry(resolve(snapshot.directory, directory))]]);
  const found = await recipientOf(decision, registries);
  if (found === undefined) return undefined;
  if (found.kind === 'key') steps.push({ rule: 'encryption', outcome: 'pass', detail: `${found.algorithm} to ${Object.entries(found.names).map(([name, value]) => `${name} ${value}`).join()}` });
  else steps.push({ rule: 'encryption', outcome: 'deny', detail: `${found.reason}: ${found.detail}` });
  return found.kind === 'key' ? undefined : found.reason;
}

/** What the decision is asked about, beside the certificate. */
interface Asked {
  readonly request: Request | undefined;
  readonly sender: string | undefined;
  readonly address: string;
  readonly token: string | undefined;
}

interface Request {
  readonly method: string;
  readonly host: string;
  readonly path: string;
}

type Decision = Permit | StreamPermit | Expected | Denial;

/** The decision about a request, or about a stream where the listener carries those; undefined when only the admission was asked for. */
async function decide(
  snapshot: Snapshot, listener: TlsListenerConfig, { request, sender, address, token }: Asked, admission: Admission, now: number, steps: Step[],
): Promise<Decision | undefined> {
  const { config } = snapshot;
  const { unavailable } = config.revocation;
  const inside = (config.networks.inside ?? []).map(parseNetwork);
  // Nothing suspends operators.
  const suspensions = listener.name === config.admin.listener ? [] : compileSuspensions([...readSuspensions(resolve(snapshot.directory, config.state), now), ...pausesOf(snapshot, now)]);
  if (listener.protocol === 'tcp') return decideStream(snapshot, listener, { sender, address, suspensions, inside }, admission, now, steps);
  if (request === undefined) return deniedEverywhere(config, admission, now, steps);
  const host = parseHost(request.host);
  const aliases = new Map(Object.entries(config.aliases));
  const material = snapshot.listeners[listener.name];
  const knows = material !== undefined && host.kind === 'host'
    && createContexts(listener, material, [...config.routes.flatMap((route) => route.match.host ?? []), ...aliases.keys()], NO_TICKETS, aliases).knows(host.name);
  const rates = compileRates('gateway', config.limits.rates);
  const policy = { routes: compileRoutes(config.routes, rates, snapshot.authorities, config), unavailable, rates, aliases, inside, ...devicesOf(snapshot) };
  const facts: RequestFacts = {
    method: request.method, target: targetOf(request), host, directed: knows || (host.kind === 'host' && isIP(host.name) !== 0),
    clientAuth: listener.client_auth.mode, admission, address, preflight: undefined, listener: listener.name, suspensions,
  };
  const asked = authorize(policy, facts, now);
  const found = asked.kind === 'query' && asked.token !== undefined ? { token: await findToken(snapshot, asked.token, token) } : {};
  const first = authorize(policy, { ...facts, ...found }, now);
  const decision = authorize(policy, { ...facts, ...found, findings: COUNTED }, now, (step) => steps.push(step));
  const counters = first.kind === 'query' ? first.counters : [];
  steps.push(...counters.flatMap(({ per, windows }) => windows.map(({ text }): Step => ({ rule: 'limits', outcome: 'skip', detail: `${text} for each ${per}: counted by the running gateway` }))));
  return decision;
}

/** Without a request: a certificate without a role is denied by every route, and one whose status nobody tells when no route makes an exception of it. */
function deniedEverywhere({ routes, revocation }: Snapshot['config'], admission: Admission, now: number, steps: Step[]): Denial | undefined {
  if (admission.kind !== 'known') return undefined;
  if (admission.identity === undefined) return { kind: 'denial', reason: 'no_role', code: 'role_denied', detail: 'no role matches' };
  const verdicts = routes.map((route) => judgeUnknown(route.unavailable ?? revocation.unavailable, undefined, admission, now));
  const denials = verdicts.filter((verdict) => verdict?.kind === 'denial');
  const [denial] = denials;
  if (denial === undefined || denials.length < verdicts.length) return undefined;
  steps.push({ rule: 'status', outcome: 'deny', detail: `${denial.reason}: no route serves a certificate whose status is unknown` });
  return denial;
}

/** What the gateway would find out about a token: by the issuer's keys as they are now. */
async function findToken(snapshot: Snapshot, rule: TokenRule, token: string | undefined): Promise<TokenFinding> {
  const now = (): number => Date.now();
  const issuerKeys = openIssuerKeys({ readAt: now(), now, log: SILENT, serially: (change) => change(), publish: () => Promise.resolve() });
  try {
    await issuerKeys.load(snapshot);
    const keys = createKeyRegister();
    keys.take(issuerKeys.sets());
    const desk = createTokenDesk({ issuers: issuersOf(snapshot), keys, refresh: () => Promise.resolve(Infinity), now });
    return await desk.find(rule, token === undefined ? [] : ['authorization', `Bearer ${token}`]);
  } finally {
    issuerKeys.close();
  }
}

/** What the inventory says, where roles are bound to it. */
function devicesOf({ config, devices, directory }: Snapshot): Pick<StreamPolicy, 'devices'> {
  if (devices === undefined) return {};
  const known = withTold(devices, readToldDevices(resolve(directory, config.state)));
  return { devices: { register: createDeviceRegister(known), bindings: compileBindings(config.roles) } };
}

function decideStream(
  snapshot: Snapshot, listener: TcpListenerConfig, { sender, address, suspensions, inside }: Pick<Asked, 'sender' | 'address'> & { readonly suspensions: readonly Suspension[]; readonly inside: readonly Network[] },
  admission: Admission, now: number, steps: Step[],
): Decision {
  const { unavailable } = snapshot.config.revocation;
  const senders = listener.senders === undefined ? undefined : compileSenders(listener.senders);
  const announced = sender === undefined || senders === undefined ? undefined : parseSender(sender, senders.protocol);
  const policy = { allow: new Set(listener.allow), unavailable, inside, ...(senders === undefined ? {} : { senders }), ...devicesOf(snapshot) };
  const decision = authorizeStream(policy, { admission, address, announced, listener: listener.name, suspensions }, now);
  if (decision.kind === 'denial') {
    steps.push({ rule: STREAM_RULES[decision.reason] ?? (decision.alarm === undefined ? 'listener' : 'device'), outcome: 'deny', detail: `${decision.reason}: ${decision.detail}` });
    return decision;
  }
  const { identity } = decision;
  steps.push({ rule: 'listener', outcome: 'pass', detail: `${listener.name} allows the role ${listener.allow.find((role) => identity.roles.has(role))}` });
  if (decision.device !== undefined) steps.push({ rule: 'device', outcome: 'pass', detail: describeDevice(decision.device) });
  if (senders !== undefined) steps.push(...sendersFor(senders, identity).map((line): Step => ({ rule: 'sender', outcome: 'pass', detail: `${identity.id} may speak with ${line}` })));
  if (decision.kind === 'permit' && sender !== undefined) steps.push({ rule: 'sender', outcome: 'pass', detail: `${sender} is one of them` });
  return decision;
}

/** Nobody resumes anything here. */
const NO_TICKETS = { secret: { octets: new Uint8Array(32), since: 0 }, trust: () => '' };

const STREAM_RULES: Readonly<Record<string, string>> = { sender_denied: 'sender', suspended: 'suspended' };

/** `APPLICATION|FACILITY` as an HL7 header has them, `CALLING|CALLED` for DICOM. */
function parseSender(text: string, protocol: Announced['kind']): Announced {
  const [first = '', second = ''] = text.split('|').map((name) => name.trim());
  return protocol === 'mllp' ? { kind: 'mllp', application: first, facility: second } : { kind: 'dicom', calling: first, called: second };
}

function chooseListener(snapshot: Snapshot, name: string | undefined): TlsListenerConfig {
  const served = snapshot.config.listeners.filter((listener) => listener.protocol !== 'redirect');
  const found = name === undefined ? served[0] : served.find((listener) => listener.name === name);
  if (found === undefined) throw new WrongUsage(`--listener: no TLS listener named ${JSON.stringify(name ?? '')}; known: ${served.map((listener) => listener.name).join(', ')}`);
  return found;
}

/** What is answered 400 whatever the policy says (RFC 9110 section 9.1). */
function targetOf({ method, path }: Request): ReturnType<typeof parseTarget> {
  if (method === 'CONNECT') return { kind: 'malformed', detail: 'CONNECT is not served' };
  return isKnownMethod(method) ? parseTarget(path) : { kind: 'malformed', detail: `an unknown method: ${method}` };
}

function parseRequest(text: string): Request {
  const match = /^([A-Z]+) https:\/\/([^/]+)(\/\S*)?$/.exec(text.trim());
  if (match === null) throw new WrongUsage(`--request: ${JSON.stringify(text)} is not a request; expected 'GET https://host/path'`);
  return { method: match[1] as string, host: match[2] as string, path: match[3] ?? '/' };
}

function withoutCertificate(steps: Step[]): Admission {
  steps.push({ rule: 'leaf', outcome: 'skip', detail: 'the client shows no certificate' });
  return { kind: 'anonymous' };
}

async function admit(snapshot: Snapshot, listener: TlsListenerConfig, pem: string, host: string, now: () => number, steps: Step[]): Promise<Admission> {
  const chain = pemBlocks(readFileSync(pem, 'utf8'), 'CERTIFICATE').map((block) => block.der);
  if (chain.length === 0) throw new Error(`${pem}: holds no certificate`);
  const alone = await openAlone(snapshot, { now });
  const admission = await alone.admit(listener, chain, host).finally(alone.close);
  describeAdmission(admission, compileRoles(snapshot.config, snapshot.authorities), steps);
  return admission;
}

function formatStep(step: Step): string {
  return `${step.outcome.padEnd(4)}  ${step.rule.padEnd(11)}  ${printable(step.detail)}`;
}
