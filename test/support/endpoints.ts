import type { IncomingMessage, ServerResponse } from 'node:http';
import { startBackend, type Backend } from './backend.ts';
import { ask, configuration, startGateway, type GatewayParts, type Reply, type TestGateway } from './gateway.ts';
import type { TestPki } from './pki.ts';

/** Backends that answer with their own number. */
export async function startEndpoints(pki: TestPki, count: number, answer?: (request: IncomingMessage, response: ServerResponse, number: number) => void): Promise<readonly Backend[]> {
  return Promise.all(Array.from({ length: count }, (_, number) => startBackend(pki, (request, response) => {
    if (answer === undefined) response.end(String(number));
    else answer(request, response, number);
  })));
}

export const TLS = '{ trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }';

/** The YAML of an upstream: endpoints by port (and weight), and further keys. */
export function upstreamYaml(endpoints: readonly (number | { readonly port: number; readonly weight: number })[], keys = ''): string {
  const urls = endpoints.map((endpoint) => (typeof endpoint === 'number'
    ? `"https://127.0.0.1:${endpoint}"`
    : `{ url: "https://127.0.0.1:${endpoint.port}", weight: ${endpoint.weight} }`));
  return `{ endpoints: [${urls.join(', ')}], tls: ${TLS}, ${keys} }`;
}

export interface UpstreamGateway extends TestGateway {
  /** Puts other upstreams in force. */
  replace(upstreams: Readonly<Record<string, string>>): Promise<void>;
}

/** A gateway in front of several upstreams, each under a path of its own name. */
export async function startUpstreams(pki: TestPki, upstreams: Readonly<Record<string, string>>, parts: GatewayParts = {}): Promise<UpstreamGateway> {
  const gateway = await startGateway(pki, 1, upstreamParts(upstreams, parts));
  return {
    ...gateway,
    async replace(others) {
      await gateway.configure(configuration(1, upstreamParts(others, parts)));
      await gateway.gateway.reload();
    },
  };
}

function upstreamParts(upstreams: Readonly<Record<string, string>>, parts: GatewayParts = {}): GatewayParts {
  return {
    routes: Object.keys(upstreams).map((name) => `\n  - { name: ${name}, match: { path: /${name}/* }, allow: [doctor, patient, device], upstream: ${name} }`).join(''),
    upstreams: Object.entries(upstreams).map(([name, yaml]) => `\n  ${name}: ${yaml}`).join(''),
    ...parts,
    top: `metrics: { address: "127.0.0.1:0" }\n${parts.top ?? ''}`,
  };
}

/** Asks so many times, `width` at a time, each on a connection of its own. */
export async function askMany(pki: TestPki, gateway: TestGateway, path: string, count: number, options: { readonly width?: number; readonly method?: string; readonly body?: string } = {}): Promise<readonly Reply[]> {
  const replies: Reply[] = [];
  let asked = 0;
  const { width = 4, ...rest } = options;
  await Promise.all(Array.from({ length: width }, async () => {
    while (asked++ < count) replies.push(await ask(pki, gateway.port, path, { client: pki.patient, ...rest }));
  }));
  return replies;
}

/** How many of the replies said what. */
export function tally(replies: readonly Reply[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { status, body } of replies) {
    const said = status === 200 ? body.toString() : String(status);
    counts[said] = (counts[said] ?? 0) + 1;
  }
  return counts;
}

/** The value of a metric whose labels are as given, and 0 where there is none. */
export async function metric(gateway: TestGateway, name: string, labels: Readonly<Record<string, string>>): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name}{`) && Object.entries(labels).every(([key, value]) => one.includes(`${key}="${value}"`)));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** How the gateway says an upstream stands. */
export async function upstreamStatus(gateway: TestGateway, name: string) {
  const found = (await gateway.gateway.status()).upstreams.find(({ upstream }) => upstream === name);
  if (found === undefined) throw new Error(`no upstream ${name}`);
  return found;
}
