import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../src/demo/database/database.ts';
import type { Database } from '../src/demo/database/database.ts';
import type { Bound } from '../src/demo/listen.ts';
import { startRecordsApi } from '../src/demo/records-api.ts';
import { openRecords, seedRecords } from '../src/demo/records.ts';
import type { Records } from '../src/demo/records.ts';
import { issueCertificate, testPki } from './support/pki.ts';
import type { Issued, TestPki } from './support/pki.ts';
import { call } from './support/records-client.ts';
import type { Call } from './support/records-client.ts';

let pki: TestPki;
let database: Database;
let records: Records;
let api: Bound;

beforeAll(async () => {
  pki = await testPki();
  database = await openDatabase('sqlite::memory:');
  records = await openRecords(database);
  api = await startRecordsApi({
    port: 0, certificate: pki.backendServer.chain, key: pki.backendServer.key, trust: pki.backendCa.certificate, gateway: 'CN=wardgate,OU=Gateways,O=Hospital', records,
  });
});

afterAll(async () => {
  await api.close();
  await database.close();
});

const ask = (options: Omit<Call, 'port' | 'trust'>) => call({ port: api.port, trust: pki.backendCa.certificate, client: pki.gatewayClient, ...options });
const as = (role: string, id: string) => ({ 'x-client-role': role, 'x-client-id': id });
const patient = as('patient', 'urn:patient:1001');
const kiosk = as('device', 'kiosk-7.devices.hospital.test');

describe('who may connect', () => {
  const askAs = (client: Issued | undefined) => call({ port: api.port, trust: pki.backendCa.certificate, path: '/public/health', ...(client === undefined ? {} : { client }) });

  test('serves the gateway, under the name its certificate carries', async () => {
    expect((await ask({ path: '/public/health', serverName: 'records.internal' })).status).toBe(200);
  });

  test('refuses a client without a certificate in the handshake', async () => {
    await expect(askAs(undefined)).rejects.toThrow(/certificate required|socket hang up|ECONNRESET|EPIPE/i);
  });

  test('refuses a doctor whose certificate comes from the clients\' authority', async () => {
    await expect(askAs(pki.doctor)).rejects.toThrow(/unknown ca|socket hang up|ECONNRESET|EPIPE/i);
  });

  test('refuses its own server certificate used by a client', async () => {
    await expect(askAs(pki.backendServer)).rejects.toThrow();
  });

  test('refuses another subject of the gateway\'s own authority', async () => {
    const other = await issueCertificate(pki.backendCa, { subject: [['CN', 'wardgate'], ['OU', 'Gateways'], ['O', 'Elsewhere']] });
    expect(await askAs(other)).toMatchObject({ status: 403, body: { code: 'not_the_gateway' } });
  });

  test('refuses an expired certificate of the gateway', async () => {
    const expired = await issueCertificate(pki.backendCa, { subject: [['CN', 'wardgate'], ['OU', 'Gateways'], ['O', 'Hospital']], notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 3_600_000 });
    await expect(askAs(expired)).rejects.toThrow();
  });

  test('does not speak plain HTTP', async () => {
    const socket = connect(api.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /public/health HTTP/1.1\r\nHost: localhost\r\n\r\n');
    expect(await text(socket).catch(() => '')).not.toContain('HTTP/1.1 200');
  });
});

describe('POST /upload', () => {
  test('stores a patient\'s reading under the id that the gateway gives', async () => {
    const answer = await ask({ path: '/upload', headers: patient, json: { systolic: 124, diastolic: 81, pulse: 68, measured_at: '2026-01-02T10:00:00+01:00' } });
    expect(answer).toMatchObject({ status: 201, body: { patient: '1001', systolic: 124, diastolic: 81, pulse: 68, measured_at: '2026-01-02T09:00:00.000Z', source: 'urn:patient:1001' } });
  });

  test('stores a kiosk\'s reading under the patient that the body names', async () => {
    const answer = await ask({ path: '/upload', headers: kiosk, json: { patient: '1002', systolic: 138, diastolic: 88 } });
    expect(answer).toMatchObject({ status: 201, body: { patient: '1002', pulse: null, source: 'kiosk-7.devices.hospital.test' } });
  });

  test('takes now for the time when none is given', async () => {
    const before = Date.now();
    const { body } = await ask({ path: '/upload', headers: patient, json: { systolic: 124, diastolic: 81 } });
    expect(Date.parse(String(body['measured_at']))).toBeGreaterThanOrEqual(before);
  });

  test.each([
    ['a kiosk that names no patient', kiosk, { systolic: 120, diastolic: 80 }, 422],
    ['a patient that names another', patient, { patient: '1002', systolic: 120, diastolic: 80 }, 403],
    ['a doctor', as('doctor', 'Dr Wang'), { patient: '1002', systolic: 120, diastolic: 80 }, 403],
    ['somebody without a role', {}, { patient: '1002', systolic: 120, diastolic: 80 }, 403],
    ['a patient id that is none', as('patient', '../../1'), { systolic: 120, diastolic: 80 }, 403],
    ['systolic out of range', patient, { systolic: 301, diastolic: 80 }, 422],
    ['diastolic out of range', patient, { systolic: 120, diastolic: 19 }, 422],
    ['diastolic not below systolic', patient, { systolic: 90, diastolic: 90 }, 422],
    ['a pulse out of range', patient, { systolic: 120, diastolic: 80, pulse: 301 }, 422],
    ['a fraction', patient, { systolic: 120.5, diastolic: 80 }, 422],
    ['numbers as text', patient, { systolic: '120', diastolic: 80 }, 422],
    ['a missing value', patient, { systolic: 120 }, 422],
    ['an unknown field', patient, { systolic: 120, diastolic: 80, note: 'x' }, 422],
    ['a time without a zone', patient, { systolic: 120, diastolic: 80, measured_at: '2026-01-02T10:00:00' }, 422],
    ['tomorrow', patient, { systolic: 120, diastolic: 80, measured_at: new Date(Date.now() + 86_400_000).toISOString() }, 422],
    ['a list', patient, [], 422],
  ])('refuses %s', async (_, headers, json, status) => {
    const before = await records.newest(1000);
    expect((await ask({ path: '/upload', headers, json })).status).toBe(status);
    expect(await records.newest(1000)).toEqual(before);
  });

  test('refuses a body that is not JSON, and one that does not say it is', async () => {
    expect((await ask({ path: '/upload', headers: { ...patient, 'content-type': 'application/json' }, body: '{' })).status).toBe(400);
    expect((await ask({ path: '/upload', headers: { ...patient, 'content-type': 'text/plain' }, body: '{}' })).status).toBe(415);
  });

  test('refuses a body beyond 16 KiB', async () => {
    const answer = await ask({ path: '/upload', headers: patient, json: { systolic: 120, diastolic: 80, note: 'x'.repeat(17_000) } });
    expect(answer).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });
});

describe('the other routes', () => {
  test('GET /records answers the newest five, newest first, each with its patient', async () => {
    for (const [index, name] of ['a', 'b', 'c', 'd', 'e', 'f'].entries()) {
      await ask({ path: '/upload', headers: kiosk, json: { patient: name, systolic: 120, diastolic: 80, measured_at: new Date(Date.now() + 60_000 + index).toISOString() } });
    }
    const { status, body, headers } = await ask({ path: '/records', headers: as('doctor', 'Dr Wang') });
    expect(status).toBe(200);
    expect((body['records'] as { patient: string }[]).map((record) => record.patient)).toEqual(['f', 'e', 'd', 'c', 'b']);
    expect(headers['cache-control']).toBe('no-store');
  });

  test('POST /checkin is for devices', async () => {
    const json = { patient: 'urn:patient:1001' };
    expect(await ask({ path: '/checkin', headers: kiosk, json })).toMatchObject({ status: 201, body: { patient: '1001', device: 'kiosk-7.devices.hospital.test' } });
    expect((await ask({ path: '/checkin', headers: patient, json })).status).toBe(403);
    expect((await ask({ path: '/checkin', headers: kiosk, json: {} })).status).toBe(422);
    expect(await database.all('SELECT patient, device FROM check_ins')).toEqual([{ patient: '1001', device: 'kiosk-7.devices.hospital.test' }]);
  });

  test('an unknown path is 404, a wrong method 405 with those that are right', async () => {
    expect((await ask({ path: '/constructor' })).status).toBe(404);
    expect(await ask({ path: '/records', method: 'DELETE' })).toMatchObject({ status: 405, headers: { allow: 'GET' } });
  });

  test('health says so when the database is gone', async () => {
    const gone = await openDatabase('sqlite::memory:');
    const other = await startRecordsApi({
      port: 0, certificate: pki.backendServer.chain, key: pki.backendServer.key, trust: pki.backendCa.certificate, gateway: 'CN=wardgate,OU=Gateways,O=Hospital', records: await openRecords(gone),
    });
    await gone.close();
    const health = await call({ port: other.port, trust: pki.backendCa.certificate, client: pki.gatewayClient, path: '/public/health' });
    const failed = await call({ port: other.port, trust: pki.backendCa.certificate, client: pki.gatewayClient, path: '/records' });
    await other.close();
    expect([health.status, failed.status, failed.body['code']]).toEqual([503, 500, 'internal_error']);
  });

  test('seeds readings into an empty database only', async () => {
    const fresh = await openDatabase('sqlite::memory:');
    const seeded = await openRecords(fresh);
    await seedRecords(seeded, Date.now());
    await seedRecords(seeded, Date.now());
    expect(await seeded.newest(100)).toHaveLength(6);
    await fresh.close();
  });
});
