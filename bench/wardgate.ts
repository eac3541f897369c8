import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Peer, Place } from './peers.ts';
import { start } from './process.ts';

/** Which roles and routes it is configured with, and the path that the last of them is for. */
export interface Rules {
  readonly roles: readonly string[];
  readonly routes: readonly string[];
  readonly path?: string;
  /** Of the configuration, as YAML. */
  readonly audit?: string;
}

const DOCTOR = '{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }';

export const EVERYDAY: Rules = {
  roles: [DOCTOR, '{ role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }'],
  routes: [
    '{ name: records, match: { path: /records, methods: [GET] }, allow: [doctor], upstream: records, phi: true }',
    '{ name: upload, match: { path: /upload, methods: [POST] }, allow: [patient], upstream: records, phi: true }',
    '{ name: bodies, match: { path: /bodies/*, methods: [GET] }, allow: [doctor], upstream: records, phi: true }',
  ],
};

/** The built command with everything on: admission, CRLs, policy, audit, metrics kept. */
export const wardgate: Peer = wardgateWith('wardgate', EVERYDAY);

/** The gateway under other rules. */
export function wardgateWith(name: string, rules: Rules): Peer {
  return {
    name,
    version: () => `on Node ${process.versions.node}, OpenSSL ${process.versions.openssl}`,
    async start(place) {
      const file = join(place.directory, 'wardgate.yaml');
      await writeFile(file, configuration(place, rules));
      const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
      const running = start(process.execPath, [...profiling(), main, 'run', '-c', file], { core: place.core });
      const [, port] = await running.said(/^listening clinical 127\.0\.0\.1:(\d+)$/m);
      return { port: Number(port), process: running, ...(rules.path === undefined ? {} : { path: rules.path }) };
    },
  };
}

/**
 * The gateway with more and more rules; the request's role and route are always the last ones, and the only ones that let it pass. The
 * routes differ in the first segment of their path, in the second alone, or in the host alone.
 */
export const GROWING: readonly Peer[] = [
  ...[1, 10, 100, 1_000].map((count) => wardgateWith(`${count} route${count === 1 ? '' : 's'}`, rules(count, (index) => `path: /${index === count ? 'records' : `ward-${index}`}`))),
  wardgateWith('1000 below one segment', { ...rules(1_000, (index) => `path: /records/ward-${index}`), path: '/records/ward-1000' }),
  wardgateWith('1000 hosts', rules(1_000, (index) => `host: ${index === 1_000 ? 'localhost' : `ward-${index}.hospital.test`}, path: /records`)),
];

function rules(count: number, match: (index: number) => string): Rules {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  return {
    roles: numbers.map((index) => (index === count ? DOCTOR : `{ role: ward-${index}, match: { subject: { OU: Ward ${index} } }, id: "{subject.CN}" }`)),
    routes: numbers.map((index) => `{ name: route-${index}, match: { ${match(index)}, methods: [GET] }, allow: [${index === count ? 'doctor' : `ward-${index}`}], upstream: records, phi: true }`),
  };
}

/** Node options for a look inside, e.g. `--cpu-prof`; with the gateway's own flags, or its launcher would drop them. */
function profiling(): readonly string[] {
  const wanted = process.env['BENCH_NODE_FLAGS'];
  return wanted === undefined ? [] : ['--disable-sigusr1', '--disable-warning=ExperimentalWarning', ...wanted.split(' ')];
}

function configuration({ pki: { path }, backendPort, connections }: Place, { roles, routes, audit }: Rules): string {
  return `
state: ./state
threads: 1${audit === undefined ? '' : `\naudit: ${audit}`}
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: ${path('server-ec.pem')}, key: ${path('server-ec.key')} }
        - { certificate: ${path('server-rsa.pem')}, key: ${path('server-rsa.key')} }
    client_auth: { mode: required, trust: [${path('root.pem')}], intermediates: [${path('issuing.pem')}] }
${connections === undefined ? '' : `    limits: { connections: ${connections + 1_000}, idle_time: 5m }\n`}\
revocation: { check: chain, sources: [crl], unavailable: deny, crl: { files: [${path('issuing.crl')}, ${path('root.crl')}] } }
roles:
${list(roles)}
routes:
${list(routes)}
upstreams:
  records:
    endpoints: ["https://127.0.0.1:${backendPort}"]
    tls: { trust: ${path('backend-ca.pem')}, certificate: ${path('gateway.pem')}, key: ${path('gateway.key')}, server_name: records.internal }
`;
}

function list(items: readonly string[]): string {
  return items.map((item) => `  - ${item}`).join('\n');
}
