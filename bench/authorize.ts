import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { parseConfig } from '../src/config/load.ts';
import { compileRoles, identify } from '../src/identity/roles.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { authorize } from '../src/policy/authorize.ts';
import type { Policy } from '../src/policy/decision.ts';
import { COUNTED, type KnownAdmission, type RequestFacts } from '../src/policy/facts.ts';
import { parseHost } from '../src/policy/host.ts';
import { compileRates } from '../src/policy/limits.ts';
import { compileRoutes } from '../src/policy/routes.ts';
import { parseTarget } from '../src/policy/target.ts';
import { testPki } from '../test/support/pki.ts';
import { spread } from './ratios.ts';

// What one decision costs with many rules: run by itself, since what is around it costs more. Microseconds, medians of rounds.

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '9' }, decisions: { type: 'string', default: '200000' } } });
const rounds = Number(values.rounds);
const decisions = Number(values.decisions);

/** Conditions that the last rule has, as YAML of a route. */
const LIMITS = 'limits: { rate: [10/minute, 50/hour, 200/day], rates: [{ per: address, rate: [100/minute] }, { per: route, rate: [1000/minute] }] }';
const CONDITIONS: Readonly<Record<string, { readonly route: string; readonly asks?: true }>> = {
  'a role alone': { route: '' },
  'networks': { route: 'require: { networks: [10.0.0.0/8, 192.168.0.0/16, "2001:db8::/32"] }' },
  'limits, before counting': { route: LIMITS, asks: true },
  'limits, counted': { route: LIMITS },
  'a patient in the path': { route: 'patient: { path: id, bound: [doctor], id: "Dr *" }' },
};

const pki = await testPki();
const leaf = parseCertificate(pki.doctor.der);
const path = [leaf, ...[pki.issuing, pki.root].flatMap(({ certificate }) => pemBlocks(certificate, 'CERTIFICATE').map(({ der }) => parseCertificate(der)))];
const now = Date.now();

console.log(`one decision, µs: median (minimum–maximum) of ${rounds} rounds of ${decisions}; ${availableParallelism()} cores, Node ${process.versions.node}`);
for (const [name, { route, asks = false }] of Object.entries(CONDITIONS)) {
  const by = [1, 1_000].map((rules) => ({ rules, times: measure(rules, route, asks) }));
  console.log(`${name.padEnd(24)} ${by.map(({ rules, times: { min, median, max } }) => `${String(rules).padStart(4)} rules: ${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`).join('   ')}`);
}

function measure(rules: number, condition: string, asks: boolean): ReturnType<typeof spread> {
  const { policy, facts: { findings, ...facts } } = setting(rules, condition);
  const asked: RequestFacts = asks || findings === undefined ? facts : { ...facts, findings };
  const wanted = asks ? 'query' : 'permit';
  const once = (): number => {
    const started = performance.now();
    for (let index = 0; index < decisions; index++) if (authorize(policy, asked, now).kind !== wanted) throw new Error(`no ${wanted}`);
    return ((performance.now() - started) * 1000) / decisions;
  };
  once();
  return spread(Array.from({ length: rounds }, once));
}

/** As many routes and roles, of which the last ones are the request's. */
function setting(rules: number, condition: string): { readonly policy: Policy; readonly facts: RequestFacts } {
  const numbers = Array.from({ length: rules }, (_, index) => index + 1);
  const route = (index: number): string => `{ name: r${index}, match: { host: api.hospital.test, path: /wards/w${index}/:id, methods: [GET] }, allow: [${index === rules ? 'doctor' : `role-${index}`}], upstream: records${condition === '' ? '' : `, ${condition}`} }`;
  const role = (index: number): string => `{ role: ${index === rules ? 'doctor' : `role-${index}`}, match: { subject: { OU: ${index === rules ? 'Doctors' : `Ward ${index}`} } } }`;
  const parsed = parseConfig(`
listeners: [{ name: clinical, address: "127.0.0.1:0", tls: { certificates: [{ certificate: a.pem, key: a.key }] }, client_auth: { trust: ca.pem } }]
roles: [${numbers.map(role).join(', ')}]
routes: [${numbers.map(route).join(', ')}]
upstreams: { records: { endpoints: ["https://127.0.0.1:1"], tls: { trust: ca.pem } } }
`, 'bench.yaml');
  if (parsed.kind !== 'ok') throw new Error(JSON.stringify(parsed));
  const config = parsed.config;
  const rates = compileRates('gateway', config.limits.rates);
  const { identity } = identify({ path, policies: [] }, compileRoles(config, {}));
  const admission = { kind: 'known', leaf, path, policies: [], identity, status: { kind: 'good', source: 'crl' }, statements: [], epoch: 1, validUntil: now + 60_000 } as unknown as KnownAdmission;
  return {
    policy: { routes: compileRoutes(config.routes, rates), unavailable: 'deny', rates },
    facts: {
      method: 'GET', target: parseTarget(`/wards/w${rules}/Wang`), host: parseHost('api.hospital.test'), directed: true, clientAuth: 'required', admission, address: '10.1.2.3', preflight: undefined, findings: COUNTED,
    },
  };
}
