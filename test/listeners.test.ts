import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, startRawBackend, type Backend } from './support/backend.ts';
import { ask, exchange, openTls, startGateway } from './support/gateway.ts';
import { sClient } from './support/openssl.ts';
import { createAuthority, testPki, type TestPki } from './support/pki.ts';
import { freePort } from './support/programs.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

function plain(port: number, path: string, host: string): Promise<{ status: number; location: string | undefined }> {
  return new Promise((done, failed) => {
    const outgoing = httpRequest({ host: '127.0.0.1', port, path, headers: { host } }, (response) => {
      response.resume();
      done({ status: response.statusCode ?? 0, location: response.headers.location });
    });
    outgoing.on('error', failed);
    outgoing.end();
  });
}

describe('a listener that requires certificates', () => {
  it('asks for the certificates of a CA whose base64 fills its last line', async () => {
    let root = pki.root;
    for (let length = 1; root.der.toString('base64').length % 64 !== 0; length = length % 60 + 1) root = await createAuthority({ name: [['CN', `Full ${'x'.repeat(length)}`]] });
    const gateway = await startGateway({ ...pki, root }, backend.port, { clientAuth: '{ mode: optional, trust: [root.pem] }' });
    const run = await sClient(gateway.port, ['-servername', 'localhost'], 'GET /public/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await gateway.stop();
    expect(run.output).toMatch(/Acceptable client certificate CA names\nCN ?= ?Full x/);
  });

  it('answers a client without one with certificate_required on every route, public ones too', async () => {
    const gateway = await startGateway(pki, backend.port, { clientAuth: '{ mode: required, trust: [root.pem], intermediates: [issuing.pem] }' });
    for (const path of ['/public/x', '/records', '/nowhere']) {
      expect((await ask(pki, gateway.port, path)).json()).toMatchObject({ status: 401, code: 'certificate_required' });
    }
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    await gateway.stop();
  });

  it('ends the connections of refused clients where it is told to, with the reason on record', async () => {
    const gateway = await startGateway(pki, backend.port, { clientAuth: '{ mode: required, trust: [root.pem], intermediates: [issuing.pem] }', listenerExtra: '    reject: close' });
    for (const client of [pki.revokedDoctor, undefined]) {
      await expect(ask(pki, gateway.port, '/records', client === undefined ? {} : { client })).rejects.toThrow();
    }
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    const reasons = (await gateway.records()).filter((record) => record['event'] === 'connection').map((record) => record['reason']);
    expect(reasons.toSorted()).toEqual(['no_certificate', 'revoked_crl']);
    await gateway.stop();
  });
});

describe('a redirect listener', () => {
  it('sends plain HTTP to https and forwards nothing', async () => {
    const before = backend.seen.length;
    const gateway = await startGateway(pki, backend.port, { top: '' });
    await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('listeners:\n', 'listeners:\n  - { name: plain, address: 127.0.0.1:0, protocol: redirect }\n'));
    await gateway.gateway.reload();
    const { port } = gateway.gateway.listeners.find((listener) => listener.name === 'plain')!;
    expect(await plain(port, '/records?x=1', 'localhost:8080')).toEqual({ status: 308, location: 'https://localhost/records?x=1' });
    expect((await plain(port, '//evil.test/', 'localhost')).status).toBe(400);
    expect((await plain(port, '/x', 'a b')).status).toBe(400);
    expect(backend.seen.length).toBe(before);
    await gateway.stop();
  });

  it('is added and removed by a reload, without disturbing the other', async () => {
    const gateway = await startGateway(pki, backend.port);
    const kept = await openTls(pki, gateway.port, { client: pki.patient });
    const first = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(first.replace('listeners:\n', 'listeners:\n  - { name: plain, address: 127.0.0.1:0, protocol: redirect }\n'));
    await gateway.gateway.reload();
    const { port } = gateway.gateway.listeners.find((listener) => listener.name === 'plain')!;
    expect((await plain(port, '/', 'localhost')).status).toBe(308);
    await gateway.configure(first);
    await gateway.gateway.reload();
    await expect(plain(port, '/', 'localhost')).rejects.toThrow('ECONNREFUSED');
    expect(await exchange(kept, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toContain('200');
    kept.destroy();
    await gateway.stop();
  });
});

describe('a reload', () => {
  it('serves the new certificate on every thread and judges open connections anew', async () => {
    const gateway = await startGateway(pki, backend.port);
    const open = await openTls(pki, gateway.port, { client: pki.doctor });
    const get = 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n';
    expect(await exchange(open, get, (text) => text.endsWith('hello'))).toContain(' 200 ');
    await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('OU: Doctors', 'OU: Surgeons').replaceAll('server-ec', 'server-rsa'));
    await gateway.gateway.reload();
    expect(await exchange(open, get, (text) => text.includes('\r\n\r\n{'))).toContain(' 403 ');
    for (let round = 0; round < 6; round++) {
      const socket = await openTls(pki, gateway.port);
      expect(socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('rsa');
      socket.destroy();
    }
    open.destroy();
    await gateway.stop();
  });

  it('moves a listener to another address and back, and lets another name have its address', async () => {
    const gateway = await startGateway(pki, backend.port);
    const [first, second] = await Promise.all([freePort(), freePort()]);
    const yaml = (await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('address: 127.0.0.1:0', `address: "127.0.0.1:${first}"`);
    const moved = yaml.replace(`127.0.0.1:${first}`, `127.0.0.1:${second}`);
    for (const [text, port, gone] of [[yaml, first, gateway.port], [moved, second, first], [yaml, first, second], [yaml.replace('name: clinical', 'name: wards'), first, second]] as const) {
      await gateway.configure(text);
      await gateway.gateway.reload();
      expect(gateway.gateway.listeners[0]?.port).toBe(port);
      for (let round = 0; round < 4; round++) expect((await ask(pki, port, '/records', { client: pki.doctor })).status).toBe(200);
      await expect(ask(pki, gone, '/records', { client: pki.doctor })).rejects.toThrow('ECONNREFUSED');
    }
    await gateway.stop();
  });

  it('refuses what only a restart can change', async () => {
    const gateway = await startGateway(pki, backend.port);
    await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('threads: 2', 'threads: 3'));
    await expect(gateway.gateway.reload()).rejects.toThrow('threads: cannot change without a restart');
    await gateway.stop();
  });
});

describe('a CORS preflight', () => {
  it('passes without a certificate where the route says so, on record, and nowhere else', async () => {
    const routes = `
  - { name: open, match: { path: /open, methods: [POST] }, allow: [doctor], upstream: records, preflight: allow }
  - { name: shut, match: { path: /shut, methods: [POST] }, allow: [doctor], upstream: records }`;
    const gateway = await startGateway(pki, backend.port, { routes });
    const headers = { origin: 'https://app.test', 'access-control-request-method': 'POST' };
    expect((await ask(pki, gateway.port, '/open', { method: 'OPTIONS', headers })).status).toBe(200);
    expect(backend.seen.at(-1)).toMatchObject({ method: 'OPTIONS' });
    expect(backend.seen.at(-1)?.headers['x-client-role']).toBeUndefined();
    expect((await ask(pki, gateway.port, '/shut', { method: 'OPTIONS', headers })).status).toBe(404);
    expect((await ask(pki, gateway.port, '/open', { method: 'OPTIONS' })).status).toBe(404);
    expect((await ask(pki, gateway.port, '/open', { method: 'POST', headers })).status).toBe(401);
    expect((await gateway.records()).find((record) => record['method'] === 'OPTIONS' && record['result'] === 'permitted')).toMatchObject({ route: 'open' });
    await gateway.stop();
  });
});

describe('limits', () => {
  it('answers 413 to a body that is too large, announced or not, and asks no upstream for the announced one', async () => {
    const routes = '\n  - { name: upload, match: { path: /upload }, allow: [doctor], upstream: records, limits: { body: 1KiB } }';
    const gateway = await startGateway(pki, backend.port, { routes });
    const before = backend.seen.length;
    const announced = await ask(pki, gateway.port, '/upload', { client: pki.doctor, method: 'POST', body: Buffer.alloc(2048) });
    expect(announced.json()).toMatchObject({ status: 413, code: 'body_too_large' });
    const chunked = await ask(pki, gateway.port, '/upload', { client: pki.doctor, method: 'POST', headers: { 'transfer-encoding': 'chunked' }, body: Buffer.alloc(200_000) });
    expect(chunked.json()).toMatchObject({ status: 413, code: 'body_too_large' });
    expect(backend.seen.length).toBe(before);
    expect((await ask(pki, gateway.port, '/upload', { client: pki.doctor, method: 'POST', body: Buffer.alloc(1024) })).status).toBe(200);
    await gateway.stop();
  });

  it('answers 431 to a head that is too large', async () => {
    const gateway = await startGateway(pki, backend.port, { listenerExtra: '    limits: { header_size: 4KiB }' });
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    const text = await exchange(socket, `GET /records HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(8192)}\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
    expect(text).toContain('headers_too_large');
    await gateway.stop();
  });

  it('ends connections whose head or handshake does not come (TRAPS 13)', async () => {
    const gateway = await startGateway(pki, backend.port, { listenerExtra: '    limits: { header_time: 1s, handshake_time: 1s }' });
    const slow = await openTls(pki, gateway.port, { client: pki.doctor });
    const text = await exchange(slow, 'GET /records HTTP/1.1\r\nHost: loc');
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    const silent = connectTcp(gateway.port, '127.0.0.1');
    silent.on('error', () => undefined);
    silent.resume();
    await once(silent, 'close');
    await gateway.stop();
  });
});

describe('evidence', () => {
  it('is on file before the last octet of the answer is sent', async () => {
    const gateway = await startGateway(pki, backend.port);
    for (let round = 0; round < 50; round++) {
      const reply = await ask(pki, gateway.port, '/records', { client: pki.doctor });
      const ids = (await gateway.records()).map((record) => record['request_id']);
      expect(ids).toContain(reply.headers['x-request-id']);
    }
    await gateway.stop();
  });

  it('streams an answer of unknown length as it comes, and holds only its end back', async () => {
    let finish: () => void = () => undefined;
    const upstream = await startRawBackend(pki, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n');
      finish = () => void socket.write('0\r\n\r\n');
    });
    const gateway = await startGateway(pki, upstream.port);
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    const text = await exchange(socket, 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n', (so_far) => so_far.includes('event1'));
    expect(text).not.toMatch(/0\r\n\r\n$/);
    expect((await gateway.records()).some((record) => record['event'] === 'request')).toBe(false);
    const rest = exchange(socket, '', (so_far) => so_far.endsWith('0\r\n\r\n'));
    finish();
    await rest;
    expect((await gateway.records()).find((record) => record['event'] === 'request')).toMatchObject({ status: 200, bytes_out: 6, route: 'records' });
    socket.destroy();
    await gateway.stop();
    await upstream.close();
  });

  it('names request, certificate, role and route in each line', async () => {
    const gateway = await startGateway(pki, backend.port);
    const reply = await ask(pki, gateway.port, '/records?name=secret', { client: pki.doctor });
    const record = (await gateway.records()).find((one) => one['event'] === 'request');
    expect(record).toMatchObject({
      result: 'permitted', request_id: reply.headers['x-request-id'], listener: 'clinical', address: '127.0.0.1', serial: pki.doctor.serialHex,
      issuer: 'CN=Hospital Issuing CA,O=Hospital', subject: 'CN=Dr Wang,OU=Doctors,O=Hospital', fingerprint: pki.doctor.sha256, role: 'doctor', id: 'Dr Wang',
      route: 'records', upstream: 'records', method: 'GET', host: 'localhost', path: '/records', query: 'name=secret', status: 200, bytes_out: 5, tls: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: false,
      not_after: expect.stringMatching(/^20\d\d-\d\d-\d\dT/),
    });
    await gateway.stop();
  });
});

describe('metrics', () => {
  it('add the threads together, and health and readiness answer', async () => {
    const gateway = await startGateway(pki, backend.port, { top: 'metrics: { address: 127.0.0.1:0 }' });
    for (let round = 0; round < 8; round++) await ask(pki, gateway.port, '/records', { client: pki.doctor });
    await ask(pki, gateway.port, '/records', { client: pki.patient });
    await expect(openTls(pki, gateway.port, { servername: 'elsewhere.test' })).rejects.toThrow();
    await sClient(gateway.port, ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'], '');
    const base = `http://127.0.0.1:${gateway.gateway.metrics!.port}`;
    const text = await (await fetch(`${base}/metrics`)).text();
    expect(text).toContain('wardgate_requests_total{route="records",role="doctor",status="200"} 8');
    expect(text).toContain('wardgate_requests_total{route="records",role="patient",status="403"} 1');
    expect(text).toContain('wardgate_handshakes_total{listener="clinical",result="accepted",reason="none",tls="TLSv1.3",resumed="false"} 9');
    expect(text).toMatch(/wardgate_handshakes_total\{listener="clinical",result="failed",reason="misdirected"[^}]*\} 1/);
    expect(text).toMatch(/wardgate_handshakes_total\{listener="clinical",result="failed",reason="protocol_version"[^}]*\} 1/);
    expect(text).toContain('wardgate_crl_entries{issuer="CN=Hospital Issuing CA,O=Hospital"} 1');
    expect(text).toMatch(/wardgate_request_duration_seconds_count\{route="records"\} 9/);
    expect(text).not.toContain('Dr Wang');
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    expect((await fetch(`${base}/else`)).status).toBe(404);
    await gateway.stop();
  });
});

describe('the default profile', () => {
  it('offers exactly the four suites, and TLS 1.1 gets the protocol_version alert', async () => {
    const gateway = await startGateway(pki, backend.port);
    const accepted: string[] = [];
    for (const [flag, suite] of [
      ['-ciphersuites', 'TLS_AES_256_GCM_SHA384'], ['-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256'], ['-ciphersuites', 'TLS_AES_128_GCM_SHA256'],
      ['-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384'], ['-cipher', 'ECDHE-RSA-AES256-GCM-SHA384'], ['-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'],
      ['-cipher', 'ECDHE-ECDSA-CHACHA20-POLY1305'], ['-cipher', 'DHE-RSA-AES256-GCM-SHA384'], ['-cipher', 'AES256-GCM-SHA384'], ['-cipher', 'ECDHE-RSA-AES256-SHA'],
    ] as const) {
      const run = await sClient(gateway.port, ['-servername', 'localhost', flag, suite, flag === '-cipher' ? '-tls1_2' : '-tls1_3'], 'GET /public/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      if (run.status === 200) accepted.push(suite);
    }
    expect(accepted).toEqual(['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384']);
    const old = await sClient(gateway.port, ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'], '');
    expect(old.output).toMatch(/alert protocol version/);
    await gateway.stop();
  });
});

