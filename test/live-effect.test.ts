import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCrl, testPki, type CertificateOptions, type Issued, type TestPki } from './support/pki.ts';
import { openBefore } from './support/timing.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    // An answer that never ends: work in flight.
    if (request.url === '/echo/endless') response.write('begin');
    else response.end('hello');
  });
  gateway = await startGateway(pki, backend.port, { revocation: '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }' });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** A doctor of its own for each test: what one revokes is no other's. */
const doctor = (more: Partial<CertificateOptions> = {}): Promise<Issued> => pki.issueClient({ subject: [['CN', 'Dr Wu'], ['OU', 'Doctors']], ...more });

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** Opens many connections of one certificate, each with a request served; all but the first fifty resume a session, which costs a third. */
async function openMany(client: Issued, count: number): Promise<TLSSocket[]> {
  const sockets: TLSSocket[] = [];
  let session: Buffer | undefined;
  const open = async (): Promise<TLSSocket> => {
    const socket = await openTls(pki, gateway.port, { client, ...(session === undefined ? {} : { session }) });
    await exchange(socket, get('/echo/x'), (text) => text.endsWith('hello'));
    return socket;
  };
  for (let opened = 0; opened < count; opened += 50) {
    sockets.push(...await Promise.all(Array.from({ length: Math.min(50, count - opened) }, open)));
    session = sockets[0]?.getSession();
  }
  return sockets;
}

function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? Infinity;
}

describe('live effect', () => {
  it('cuts 1,000 open connections within a second of the revocation, by its 99th percentile', { retry: 2, timeout: 120_000 }, async () => {
    const [lost, kept] = await Promise.all([doctor(), doctor()]);
    const sockets = await openMany(lost, 1_000);
    const spared = await openMany(kept, 20);
    const cuts = sockets.map(async (socket) => {
      await once(socket, 'close');
      return performance.now();
    });
    const started = performance.now();
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: lost.sha256, reason: 'lost', who: 'test' });
    const times = (await Promise.all(cuts)).map((at) => at - started);
    console.log(`revoke to cut over ${times.length} connections: p50 ${percentile(times, 0.5).toFixed(0)} ms, p99 ${percentile(times, 0.99).toFixed(0)} ms`);
    for (const socket of spared) {
      expect(await exchange(socket, get('/echo/x'), (text) => text.endsWith('hello'))).toContain(' 200 ');
      socket.destroy();
    }
    expect(percentile(times, 0.99)).toBeLessThan(1_000);
  });

  it('ends work in flight', async () => {
    const client = await doctor();
    const socket = await openTls(pki, gateway.port, { client });
    await exchange(socket, get('/echo/endless'), (text) => text.includes('begin'));
    const closed = once(socket, 'close');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: client.sha256, reason: 'lost', who: 'test' });
    await closed;
    await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === '/echo/endless')).toMatchObject([{ result: 'failed' }]);
  });

  it.each([
    ['key'],
    ['issuer'],
  ] as const)('of a denial by %s reaches every certificate it means', async (kind) => {
    const client = await doctor();
    const leaf = parseCertificate(client.der);
    const subject = kind === 'key' ? { kind: 'key', key: leaf.spkiSha256 } as const : { kind: 'issuer', issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' } as const;
    const twin = await doctor({ key: client.key });
    const sockets = [...await openMany(client, 2), ...await openMany(twin, 2)];
    const closed = Promise.all(sockets.map((socket) => once(socket, 'close')));
    onTestFinished(async () => void await gateway.gateway.reinstate(subject, 'test'));
    await gateway.gateway.deny({ ...subject, reason: 'key on a share', who: 'test' });
    await closed;
  });

  it('of a certificate\'s own end comes without anybody\'s doing', async () => {
    const [socket] = await openBefore(3_000, async (end) => openMany(await doctor({ notAfter: end() }), 1));
    const closed = once(socket!, 'close');
    const started = Date.now();
    await closed;
    expect(Date.now() - started).toBeLessThan(15_000);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'connection')).toContainEqual(expect.objectContaining({ reason: 'expired' }));
  });

  it('of a CRL that runs out ends what stood on it', async () => {
    let number = 4;
    let over = 0;
    const publish = async (nextUpdate?: Date): Promise<void> => {
      await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: ++number, ...(nextUpdate === undefined ? {} : { nextUpdate }) }));
      await gateway.gateway.reload();
    };
    onTestFinished(() => publish());
    const [socket] = await openBefore(4_000, async (end) => {
      const nextUpdate = end();
      over = nextUpdate.getTime();
      await publish(nextUpdate);
      return openMany(pki.doctor, 1);
    });
    await expect.poll(() => Date.now()).toBeGreaterThan(over);
    const text = await exchange(socket!, get('/echo/x'), (so_far) => so_far.includes('}'));
    expect(text === '' || text.includes(' 403 ')).toBe(true);
    expect((await gateway.records()).some((record) => record['reason'] === 'crl_expired')).toBe(true);
  });
});
