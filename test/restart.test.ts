import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { startDistributionPoint, type DistributionPoint } from './support/distribution.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords } from './support/gateway.ts';
import { answerOcsp, issueCrl, ocspNoCheck, testPki, type Issued, type OcspStatus, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let directory: string;
let gateway: Gateway | undefined;
const closers: (() => void)[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

beforeEach(async () => {
  directory = await gatewayDirectory(pki);
});

afterEach(async () => {
  await gateway?.stop(0);
  gateway = undefined;
  for (const close of closers.splice(0)) close();
  await rm(directory, { recursive: true, force: true });
});

/** Starts the gateway, or starts it again, on the same state. */
async function start(revocation: string, clientAuth?: string): Promise<void> {
  await gateway?.stop(0);
  const yaml = configuration(backend.port, { revocation, ...(clientAuth === undefined ? {} : { clientAuth }) });
  await writeFile(join(directory, 'wardgate.yaml'), yaml);
  gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
}

async function outcome(client: Issued): Promise<unknown> {
  const { status } = await ask(pki, gateway!.listeners[0]!.port, '/records', { client });
  if (status === 200) return 'good';
  const mine = (await readRecords(join(directory, 'state/audit'))).filter((record) => record['serial'] === client.serialHex);
  return mine.toSorted((a, b) => String(a['time']).localeCompare(String(b['time']))).at(-1)?.['reason'];
}

interface Responder {
  readonly url: string;
  readonly asked: string[];
  statusOf: (serialHex: string) => OcspStatus;
  stop(): void;
}

async function startResponder(): Promise<Responder> {
  const asked: string[] = [];
  const server: Server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const about = (serialHex: string): OcspStatus => {
        asked.push(serialHex);
        return responder.statusOf(serialHex);
      };
      void answerOcsp(Buffer.concat(parts), { authority: pki.issuing, statusOf: about }).then((der) => response.end(der));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  closers.push(stop);
  const responder: Responder = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, asked, stop,
    statusOf: (serialHex) => (serialHex === pki.revokedDoctor.serialHex ? { kind: 'revoked', reason: 'keyCompromise' } : { kind: 'good' }),
  };
  return responder;
}

async function startPoint(): Promise<DistributionPoint> {
  const point = await startDistributionPoint({
    'issuing.crl': await issueCrl(pki.issuing, { number: 5, revoked: [{ serial: pki.revokedDoctor.serialHex }] }), 'root.crl': await issueCrl(pki.root),
  });
  closers.push(() => void point.stop().catch(() => undefined));
  return point;
}

const keptFiles = async (name: string): Promise<string[]> => (await readdir(join(directory, 'state', name))).map((file) => join(directory, 'state', name, file));

describe('a restart while the PKI is away', () => {
  it('goes on with the CRLs of configured URLs', async () => {
    const point = await startPoint();
    const revocation = `{ sources: [crl], crl: { urls: [${point.url('issuing.crl')}, ${point.url('root.crl')}] } }`;
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_crl']);
    await point.stop();
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_crl']);
  });

  it('goes on with the CRLs that certificates named, under an intermediate that only a handshake brought', async () => {
    const point = await startPoint();
    const doctor = await pki.issueClient({ subject: [['CN', 'Dr Named'], ['OU', 'Doctors']], crlDistributionPoints: [point.url('issuing.crl')] });
    const revocation = '{ sources: [crl], allow_local: true, crl: { files: [root.crl], from_certificate: true } }';
    const clientAuth = '{ mode: optional, trust: [root.pem] }';
    await start(revocation, clientAuth);
    expect(await outcome(doctor)).toBe('good');
    await point.stop();
    await start(revocation, clientAuth);
    expect([await outcome(doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_crl']);
  });

  it('goes on with OCSP answers: the good ones until they end, the revoked ones', async () => {
    const responder = await startResponder();
    const revocation = `{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}" } }`;
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_ocsp']);
    await expect.poll(async () => (await keptFiles('ocsp')).filter((file) => file.endsWith('.kept')).length).toBe(2);
    responder.stop();
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor), await outcome(pki.patient)]).toEqual(['good', 'revoked_ocsp', 'ocsp_unavailable']);
  });

  it('counts max_age from when an answer came, not from the restart', async () => {
    const responder = await startResponder();
    const revocation = `{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}", max_age: 2s } }`;
    await start(revocation);
    const came = Date.now();
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_ocsp']);
    await expect.poll(async () => (await keptFiles('ocsp')).filter((file) => file.endsWith('.kept')).length).toBe(2);
    responder.stop();
    await start(revocation);
    await expect.poll(() => Date.now() - came).toBeGreaterThan(2_500);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['ocsp_unavailable', 'revoked_ocsp']);
  });

  it('believes nothing for having been kept: what was changed on disk is as good as absent', async () => {
    const point = await startPoint();
    const responder = await startResponder();
    const revocation = `{ check: leaf, sources: [crl, ocsp], crl: { urls: [${point.url('root.crl')}] }, ocsp: { responder: "${responder.url}" } }`;
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_ocsp']);
    await expect.poll(async () => (await keptFiles('ocsp')).filter((file) => file.endsWith('.kept')).length).toBe(2);
    await gateway!.stop(0);
    for (const file of [...await keptFiles('ocsp'), ...await keptFiles('crls')]) {
      const bytes = await readFile(file);
      // The last octet is of a signature.
      bytes[bytes.length - 1] = bytes.at(-1)! ^ 1;
      await writeFile(file, bytes);
    }
    responder.stop();
    await point.stop();
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['ocsp_unavailable', 'ocsp_unavailable']);
  });

  it('does not take an answer that somebody put in another certificate\'s place', async () => {
    const responder = await startResponder();
    const revocation = `{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}" } }`;
    await start(revocation);
    await outcome(pki.doctor);
    await outcome(pki.revokedDoctor);
    await expect.poll(async () => (await keptFiles('ocsp')).filter((file) => file.endsWith('.kept')).length).toBe(2);
    await gateway!.stop(0);
    const files = await Promise.all((await keptFiles('ocsp')).map(async (file) => ({ file, text: await readFile(file) })));
    const bodies = files.map(({ text }) => text.subarray(text.indexOf('\n') + 1));
    await Promise.all(files.map(({ file, text }, index) => writeFile(file, Buffer.concat([text.subarray(0, text.indexOf('\n') + 1), bodies[1 - index]!]))));
    responder.stop();
    await start(revocation);
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['ocsp_unavailable', 'ocsp_unavailable']);
  });
});

describe('a CRL number', () => {
  it('does not go backwards across a restart, whether in a file or from a URL', async () => {
    const file = (name: string): string => join(directory, name);
    await writeFile(file('issuing.crl'), await issueCrl(pki.issuing, { number: 5, revoked: [{ serial: pki.revokedDoctor.serialHex }] }));
    const revocation = '{ sources: [crl], crl: { files: [issuing.crl, root.crl] } }';
    await start(revocation);
    expect(await outcome(pki.doctor)).toBe('good');
    await expect.poll(async () => (await keptFiles('crls').catch(() => [])).length).toBe(1);
    await writeFile(file('issuing.crl'), await issueCrl(pki.issuing, { number: 4, revoked: [] }));
    await start(revocation);
    expect(await outcome(pki.revokedDoctor)).toBe('crl_missing');
    expect((await gateway!.status()).crls.problems).toMatchObject([{ reason: 'older', source: 'issuing.crl' }]);
    await expect.poll(() => readRecords(join(directory, 'state/audit'))).toContainEqual(expect.objectContaining({ event: 'responder', result: 'failed', endpoint: 'issuing.crl', detail: expect.stringMatching(/^CRL of .*: number 4 is older than number 5/) }));
    await writeFile(file('issuing.crl'), await issueCrl(pki.issuing, { number: 6, revoked: [] }));
    await gateway!.reload();
    expect(await outcome(pki.revokedDoctor)).toBe('good');
  });
});

describe('a reload', () => {
  it('keeps what was fetched, also under other CAs', async () => {
    const point = await startPoint();
    const revocation = `{ sources: [crl], crl: { urls: [${point.url('issuing.crl')}, ${point.url('root.crl')}] } }`;
    await start(revocation);
    expect(await outcome(pki.doctor)).toBe('good');
    await point.stop();
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, { revocation, clientAuth: '{ mode: optional, trust: [root.pem, backend-ca.pem], intermediates: [issuing.pem] }' }));
    await gateway!.reload();
    expect([await outcome(pki.doctor), await outcome(pki.revokedDoctor)]).toEqual(['good', 'revoked_crl']);
  });

  it('forgets URLs that the configuration no longer names', async () => {
    const point = await startPoint();
    await start(`{ sources: [crl], crl: { urls: [${point.url('issuing.crl')}, ${point.url('root.crl')}] } }`);
    expect(await outcome(pki.doctor)).toBe('good');
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, { revocation: `{ sources: [crl], crl: { urls: [${point.url('root.crl')}] } }` }));
    await gateway!.reload();
    expect(await outcome(pki.doctor)).toBe('crl_missing');
    expect((await gateway!.status()).crls.sources.map(({ source }) => source)).toEqual([point.url('root.crl')]);
  });
});

describe('a delegated responder', () => {
  it('that is on the deny list answers for nobody', async () => {
    const delegate = await pki.issueClient({ subject: [['CN', 'Responder']], eku: ['OCSPSigning'], extensions: [ocspNoCheck()] });
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => void answerOcsp(Buffer.concat(parts), { authority: pki.issuing, delegate, statusOf: () => ({ kind: 'good' }) }).then((der) => response.end(der)));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    await start(`{ check: leaf, sources: [ocsp], ocsp: { responder: "http://127.0.0.1:${(server.address() as AddressInfo).port}/" } }`);
    expect(await outcome(pki.doctor)).toBe('good');
    await gateway!.deny({ kind: 'fingerprint', fingerprint: delegate.sha256, reason: 'stolen', who: 'test' });
    expect(await outcome(pki.patient)).toBe('ocsp_unavailable');
  });
});

describe('a revocation that an OCSP refresh brings', () => {
  it('ends the open connections of every thread before the good answer has ended', async () => {
    const responder = await startResponder();
    await start(`{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}", max_age: 8s } }`);
    const sockets = await Promise.all(Array.from({ length: 6 }, () => openTls(pki, gateway!.listeners[0]!.port, { client: pki.doctor })));
    for (const socket of sockets) expect(await exchange(socket, 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toContain(' 200 ');
    const asked = Date.now();
    const closed = Promise.all(sockets.map((socket) => once(socket, 'close')));
    responder.statusOf = () => ({ kind: 'revoked', reason: 'keyCompromise' });
    await closed;
    expect(Date.now() - asked).toBeLessThan(7_500);
    expect(await outcome(pki.doctor)).toBe('revoked_ocsp');
  });
});

describe('an open connection that stands on an OCSP answer', () => {
  const get = 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n';

  it('outlives many answers, and asks no more often than they end', async () => {
    const responder = await startResponder();
    await start(`{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}", max_age: 2s } }`);
    const socket = await openTls(pki, gateway!.listeners[0]!.port, { client: pki.doctor });
    const began = Date.now();
    while (Date.now() - began < 7_000) {
      expect(await exchange(socket, get, (text) => text.endsWith('hello'))).toContain(' 200 ');
      for (const event of ['data', 'error', 'close']) socket.removeAllListeners(event);
    }
    expect(responder.asked.length).toBeGreaterThan(3);
    expect(responder.asked.length).toBeLessThan(8);
    socket.destroy();
  });

  it('is not cut while it is idle and its answer ends', async () => {
    const responder = await startResponder();
    await start(`{ check: leaf, sources: [ocsp], ocsp: { responder: "${responder.url}", max_age: 2s } }`);
    const socket = await openTls(pki, gateway!.listeners[0]!.port, { client: pki.doctor });
    expect(await exchange(socket, get, (text) => text.endsWith('hello'))).toContain(' 200 ');
    await expect.poll(() => responder.asked.length).toBeGreaterThan(3);
    socket.removeAllListeners('data');
    expect(await exchange(socket, get, (text) => text.endsWith('hello'))).toContain(' 200 ');
    socket.destroy();
  });
});
