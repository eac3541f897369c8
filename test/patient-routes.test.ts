import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

const PATIENT = '{ OF, id: "urn:patient:*" }';
const ROUTES = `
  - { name: path, match: { path: /patients/:id/records }, allow: [doctor, patient], upstream: records, patient: ${PATIENT.replace('OF', 'path: id')} }
  - { name: query, match: { path: /records }, allow: [doctor, patient], upstream: records, patient: ${PATIENT.replace('OF', 'query: patient')} }
  - { name: header, match: { path: /upload }, allow: [doctor, patient], upstream: records, patient: ${PATIENT.replace('OF', 'header: X-Patient')} }`;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, { routes: ROUTES });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

type Asked = readonly [path: string, headers?: Readonly<Record<string, string | string[]>>];

/** The statuses by HTTP/1.1 and by HTTP/2. */
async function statuses([path, headers = {}]: Asked, client: Issued): Promise<readonly number[]> {
  const first = await ask(pki, gateway.port, path, { client, headers });
  const session = await openHttp2(pki, gateway.port, { client });
  const second = await askHttp2(session, path, { headers });
  session.destroy();
  if (first.status === 403) expect(first.json()).toMatchObject({ code: 'role_denied' });
  return [first.status, second.status];
}

const OWN: readonly Asked[] = [['/patients/1001/records'], ['/patients/100%31/records'], ['/records?patient=1001&from=2026'], ['/upload', { 'x-patient': '1001' }]];
const OTHERS: readonly Asked[] = [
  ['/patients/1002/records'], ['/patients/1001%20/records'], ['/patients/1001,1002/records'],
  ['/records?patient=1002'], ['/records'], ['/records?patient=1001&patient=1002'], ['/records?patient=1001&patient[]=1002'], ['/records?patient=1001;patient=1002'], ['/records?Patient=1002&patient=1001'],
  ['/upload'], ['/upload', { 'x-patient': '1002' }], ['/upload', { 'x-patient': ['1001', '1002'] }], ['/upload', { 'x-patient': '1001', 'x_patient': '1002' }],
];

describe('a patient\'s certificate', () => {
  it.each(OWN.map(([path, headers = {}]) => ({ path, headers })))('reaches what is its own: $path', async ({ path, headers }) => {
    expect(await statuses([path, headers], pki.patient)).toEqual([200, 200]);
  });

  it.each(OTHERS.map(([path, headers = {}]) => ({ path, headers })))('does not reach another patient by $path $headers', async ({ path, headers }) => {
    const seen = backend.seen.length;
    expect(await statuses([path, headers], pki.patient)).toEqual([403, 403]);
    expect(backend.seen.length).toBe(seen);
  });
});

it('JSON passes beside a query as it came, unless a member of it would overrule that', async () => {
  const post = (text: string, type = 'application/json') => ask(pki, gateway.port, '/records?patient=1001', { client: pki.patient, method: 'POST', headers: { 'content-type': type, 'transfer-encoding': 'chunked', accept: 'text/plain', 'accept-encoding': 'gzip' }, body: text });
  const seen = backend.seen.length;
  expect([(await post('{"patient":"1002"}')).status, (await post('{"Patient":1002}', 'application/vnd.api+json')).status, (await post('{')).status]).toEqual([403, 403, 403]);
  expect(backend.seen.length).toBe(seen);
  expect((await gateway.records()).find(({ detail }) => String(detail).includes('"Patient"'))).toMatchObject({ result: 'denied', reason: 'patient_unknown_shape', patient: '1001' });
  expect((await post('{ "systolic": 120 }')).status).toBe(200);
  expect(backend.seen.at(-1)).toMatchObject({ headers: { accept: 'text/plain', 'accept-encoding': 'gzip', 'content-length': '19' } });
  const session = await openHttp2(pki, gateway.port, { client: pki.patient });
  const over2 = (body: string) => askHttp2(session, '/records?patient=1001', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  expect([(await over2('{"patient":"1002"}')).status, (await over2('{"patient":"1001"}')).status]).toEqual([403, 200]);
  session.destroy();
});

it('a doctor reaches every patient, and whom is on record', async () => {
  expect(await statuses(['/patients/1002/records'], pki.doctor)).toEqual([200, 200]);
  expect(await statuses(['/records?patient=1003'], pki.doctor)).toEqual([200, 200]);
  expect(await statuses(['/records'], pki.doctor)).toEqual([200, 200]);
  const concerned = async () => (await gateway.records()).filter(({ role, result }) => role === 'doctor' && result === 'permitted').map(({ patient }) => patient ?? 'nobody').sort();
  await expect.poll(concerned).toEqual(['1002', '1002', '1003', '1003', 'nobody', 'nobody']);
});

it('a body that nobody reads does not pass beside a query for a bound client, by any version of HTTP, and does for a free one', async () => {
  const xml = { method: 'POST', headers: { 'content-type': 'application/xml' }, body: '<patient>1002</patient>' };
  const seen = backend.seen.length;
  const session = await openHttp2(pki, gateway.port, { client: pki.patient });
  // Without a type and a length over HTTP/2: its body is known by the stream alone.
  const over2 = [await askHttp2(session, '/records?patient=1001', xml), await askHttp2(session, '/records?patient=1001', { body: '<patient>1002</patient>' })];
  session.destroy();
  const refused = [await ask(pki, gateway.port, '/records?patient=1001', { client: pki.patient, ...xml }), ...over2];
  expect([refused.map(({ status }) => status), backend.seen.length]).toEqual([[403, 403, 403], seen]);
  expect((await ask(pki, gateway.port, '/records?patient=1001', { client: pki.doctor, ...xml })).status).toBe(200);
});

it('explain tells whom a request concerns, and who is bound to that', async () => {
  const explain = (client: string, path: string) => wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path(`${client}.pem`), '--request', `GET https://localhost${path}`]);
  const own = await explain('patient', '/patients/1001/records');
  expect([own.code, own.stdout]).toEqual([0, expect.stringMatching(/patient +1001/)]);
  const others = await explain('patient', '/patients/1002/records');
  expect([others.code, others.stdout]).toEqual([3, expect.stringMatching(/patient +patient_mismatch: the path names "1002"/)]);
  expect((await explain('doctor', '/patients/1002/records')).code).toBe(0);
});

it('a refusal is on record with whom it was about', async () => {
  const { status } = await ask(pki, gateway.port, '/patients/9009/records', { client: pki.patient });
  expect(status).toBe(403);
  await expect.poll(async () => (await gateway.records()).filter(({ patient }) => patient === '9009')).toMatchObject([
    { result: 'denied', reason: 'patient_mismatch', detail: 'the path names "9009"', id: 'urn:patient:1001', route: 'path', status: 403 },
  ]);
});
