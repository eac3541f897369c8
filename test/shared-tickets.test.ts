import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { sClient } from './support/openssl.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

const get = (host: string, path = '/records'): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

function as(gateway: TestGateway, who: string, name: string, version: string): string[] {
  return ['-CAfile', gateway.path('root.pem'), '-cert', gateway.path(`${who}.pem`), '-key', gateway.path(`${who}.key`), '-cert_chain', gateway.path(`${who}.pem`), '-servername', name, `-${version}`];
}

describe.each(['tls1_2', 'tls1_3'])('two gateways with one ticket secret, over %s', (version) => {
  it('resume each other\'s sessions, and refuse a revoked one all the same', async () => {
    const [one, other] = await Promise.all([startGateway(pki, backend.port), startGateway(pki, backend.port)]);
    const secret = randomBytes(32);
    for (const gateway of [one, other]) {
      await writeFile(gateway.path('tickets.secret'), secret, { mode: 0o600 });
      await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('    client_auth:', '      session_tickets: { secret_file: tickets.secret }\n    client_auth:'));
      await gateway.gateway.reload();
    }
    const session = one.path('session.pem');
    expect(await sClient(one.port, [...as(one, 'doctor', 'localhost', version), '-sess_out', session], get('localhost'))).toMatchObject({ status: 200, resumed: false });
    expect(await sClient(other.port, [...as(one, 'doctor', 'localhost', version), '-sess_in', session], get('localhost'))).toMatchObject({ status: 200, resumed: true });
    await other.gateway.deny({ kind: 'fingerprint', fingerprint: pki.doctor.sha256, reason: 'lost', who: 'test' });
    expect(await sClient(other.port, [...as(one, 'doctor', 'localhost', version), '-sess_in', session], get('localhost'))).toMatchObject({ status: 403, resumed: true });
    await Promise.all([one.stop(), other.stop()]);
  });

  it('without one, each makes its own, and a ticket of the other is no ticket', async () => {
    const [one, other] = await Promise.all([startGateway(pki, backend.port), startGateway(pki, backend.port)]);
    const session = one.path('session.pem');
    await sClient(one.port, [...as(one, 'doctor', 'localhost', version), '-sess_out', session], get('localhost'));
    expect(await sClient(other.port, [...as(one, 'doctor', 'localhost', version), '-sess_in', session], get('localhost'))).toMatchObject({ status: 200, resumed: false });
    await Promise.all([one.stop(), other.stop()]);
  });
});
