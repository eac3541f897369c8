import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../src/demo/database/database.ts';
import { startRecordsApi } from '../src/demo/records-api.ts';
import { openRecords, seedRecords } from '../src/demo/records.ts';
import { findPrograms, prepareMariadb, preparePostgresql } from './support/databases.ts';
import type { Credentials, DatabaseServer } from './support/databases.ts';
import { createAuthority, issueCertificate, testPki } from './support/pki.ts';
import type { Issued } from './support/pki.ts';
import { call } from './support/records-client.ts';

let folder: string;
let trust: string;
let certificate: Issued;
let elsewhere: Issued;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wardgate-databases-'));
  trust = join(folder, 'ca.pem');
  const authority = await createAuthority({ name: 'Database Root' });
  writeFileSync(trust, authority.certificate);
  certificate = await issueCertificate(authority, { subject: [['CN', 'db']], san: { dns: 'localhost' }, eku: ['serverAuth'] });
  elsewhere = await issueCertificate(authority, { subject: [['CN', 'localhost']], san: { dns: 'other.hospital.test' }, eku: ['serverAuth'] });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const mariadb = findPrograms('mariadbd', 'mariadb-install-db');
const postgresql = findPrograms('postgres', 'initdb');
if (mariadb === undefined) console.log('skipped: the MySQL tests need mariadbd and mariadb-install-db (Debian: mariadb-server)');
if (postgresql === undefined) console.log('skipped: the PostgreSQL tests need postgres and initdb (Debian: postgresql)');

interface Kind {
  readonly scheme: string;
  readonly trustParameter: string;
  readonly credentials: Credentials;
  readonly prepare: (() => Promise<DatabaseServer>) | undefined;
}

const mysqlCredentials = { user: 'demo', password: 'p@ss/word', database: 'records' };
const postgresqlCredentials = { user: 'demo', password: 'p@ss/word', database: 'postgres' };
const kinds: readonly Kind[] = [
  { scheme: 'mysql', trustParameter: 'ssl-ca', credentials: mysqlCredentials, prepare: mariadb && (() => prepareMariadb(mariadb, mysqlCredentials)) },
  { scheme: 'postgresql', trustParameter: 'sslrootcert', credentials: postgresqlCredentials, prepare: postgresql && (() => preparePostgresql(postgresql, postgresqlCredentials)) },
];

describe.each(kinds)('$scheme', ({ scheme, trustParameter, credentials, prepare }) => {
  const { user, password, database } = credentials;
  let server: DatabaseServer;

  beforeAll(async () => {
    if (prepare !== undefined) server = await prepare();
  }, 120_000);
  afterAll(() => server?.stop(), 60_000);

  const url = ({ host = 'localhost', secret = password, authority = trust, more = '' } = {}) =>
    `${scheme}://${user}:${encodeURIComponent(secret)}@${host}:${server.port}/${database}?${trustParameter}=${encodeURIComponent(authority)}${more}`;

  test.skipIf(prepare === undefined)('stores and reads records over verified TLS, and keeps them', async () => {
    await server.serve(certificate);
    const first = await openDatabase(url());
    const records = await openRecords(first);
    await seedRecords(records, Date.UTC(2026, 0, 2));
    await records.add({ patient: '王-1', systolic: 120, diastolic: 80, pulse: null, measured_at: '2026-01-03T00:00:00.000Z', source: 'test' });
    await records.checkIn({ patient: '1001', device: 'kiosk', at: '2026-01-03T00:00:00.000Z' });
    await first.close();

    const again = await openDatabase(url());
    const kept = await (await openRecords(again)).newest(5);
    const visits = await again.all('SELECT patient, device FROM check_ins');
    const secure = scheme === 'mysql' ? await again.all("SHOW STATUS LIKE 'Ssl_version'") : await again.all('SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    await again.close();
    expect(kept).toHaveLength(5);
    expect(kept[0]).toEqual({ patient: '王-1', systolic: 120, diastolic: 80, pulse: null, measured_at: '2026-01-03T00:00:00.000Z', source: 'test' });
    expect(visits).toEqual([{ patient: '1001', device: 'kiosk' }]);
    expect(JSON.stringify(secure)).toContain('TLSv1.3');
  }, 60_000);

  test.skipIf(prepare === undefined)('carries the API from upload to records', async () => {
    await server.serve(certificate);
    const pki = await testPki();
    const connection = await openDatabase(url());
    const api = await startRecordsApi({
      port: 0, certificate: pki.backendServer.chain, key: pki.backendServer.key, trust: pki.backendCa.certificate, gateway: 'CN=wardgate,OU=Gateways,O=Hospital',
      records: await openRecords(connection),
    });
    const ask = { port: api.port, trust: pki.backendCa.certificate, client: pki.gatewayClient };
    const stored = await call({ ...ask, path: '/upload', headers: { 'x-client-role': 'patient', 'x-client-id': 'urn:patient:1009' }, json: { systolic: 131, diastolic: 84 } });
    const read = await call({ ...ask, path: '/records' });
    await api.close();
    await connection.close();
    expect(stored.status).toBe(201);
    expect(read.body['records']).toContainEqual(stored.body);
  }, 60_000);

  test.skipIf(prepare === undefined)('refuses a server whose certificate comes from another authority', async () => {
    await server.serve(certificate);
    const stranger = join(folder, 'stranger.pem');
    writeFileSync(stranger, (await createAuthority({ name: 'Database Root' })).certificate);
    await expect(openDatabase(url({ authority: stranger }))).rejects.toThrow(/certificate|signature/);
  }, 60_000);

  test.skipIf(prepare === undefined)('refuses a wrong password, and does not repeat it', async () => {
    await server.serve(certificate);
    const error = await openDatabase(url({ secret: 'wrong-secret' })).catch((refused: Error) => refused);
    expect(String(error)).toMatch(/denied|authentication failed/);
    expect(String(error)).not.toContain('wrong-secret');
  }, 60_000);

  test.skipIf(prepare === undefined)('refuses a server whose certificate names another host', async () => {
    await server.serve(elsewhere);
    await expect(openDatabase(url())).rejects.toThrow(/does not match certificate's altnames/);
  }, 60_000);

  test.skipIf(prepare === undefined)('refuses an address that the certificate does not carry', async () => {
    await server.serve(certificate);
    await expect(openDatabase(url({ host: '127.0.0.1' }))).rejects.toThrow(/expected a host name|does not match certificate's altnames|not in the cert's list/);
  }, 60_000);

  test.skipIf(prepare === undefined)('refuses a server that does not offer TLS', async () => {
    await server.serve(undefined);
    await expect(openDatabase(url())).rejects.toThrow(/does not support (secure|SSL) connection/);
  }, 60_000);
});

test.each([
  ['postgresql://u:p@h/db?sslmode=require', /sslmode=require is refused; expected verify-full/],
  ['postgresql://u:p@h/db?sslmode=disable', /sslmode=disable is refused/],
  ['postgresql://u:p@h/db?ssl=false', /no parameter "ssl"/],
  ['mysql://u:p@h/db?ssl=0', /no parameter "ssl"; known: ssl-ca/],
  ['mysql://u:p@10.0.0.1/db', /expected a host name/],
  ['mysql://u:p@h', /expected mysql:\/\/USER:PASSWORD@HOST\/NAME/],
  ['oracle://u:secret@h/db', /"oracle:" is not known; expected sqlite:/],
  ['records.db', /expected sqlite:/],
])('refuses %s, without connecting', async (url, message) => {
  const error = await openDatabase(url).catch((refused: Error) => refused);
  expect(String(error)).toMatch(message);
  expect(String(error)).not.toContain('secret');
});

test('an SQLite file keeps its records', async () => {
  const url = `sqlite:${join(folder, 'records.sqlite')}`;
  const first = await openDatabase(url);
  await seedRecords(await openRecords(first), Date.now());
  await first.close();
  const again = await openDatabase(url);
  expect(await (await openRecords(again)).newest(5)).toHaveLength(5);
  await again.close();
});
