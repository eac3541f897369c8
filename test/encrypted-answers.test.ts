import { constants, createDecipheriv, createPrivateKey, generateKeyPairSync, privateDecrypt, type KeyObject } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { compactDecrypt } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { generateKey, type KeyType } from '../src/ca/keys.ts';
import { createSealFilter } from '../src/forward/seal/filter.ts';
import { keyFileName } from '../src/forward/seal/registry.ts';
import { encryptionKey } from '../src/pki/encryption-key.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, exchange, openTls, startGateway, type AskOptions, type GatewayParts, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { http2Upstream, startHttp2Backend } from './support/http2-backend.ts';
import { rsaKey, testPki, writeLeaf, type Issued, type TestPki } from './support/pki.ts';

/** What nobody but the patient may see anywhere. */
const SECRET = 'HIV-1 antibody REACTIVE 7f3a9c';
const BODY = JSON.stringify({ resourceType: 'Observation', valueString: SECRET });

const ROUTES = (to = '{ to: certificate, max: 64KiB }', more = ''): string => `
  - { name: genome, match: { path: /genome/* }, allow: [patient], upstream: records, encrypt: ${to}${more} }
  - { name: plain, match: { path: /plain/* }, allow: [patient], upstream: records }`;

let pki: TestPki;
let backend: Backend;
const started: TestGateway[] = [];
/** For tests that change nothing. */
let common: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    const path = (request.url ?? '').replace(/^\/[a-z]+/, '');
    const type = { 'content-type': 'application/fhir+json; charset=utf-8' };
    if (path === '/missing') return response.writeHead(404, type).end(BODY);
    if (path === '/broken') return response.writeHead(500, type).end(BODY);
    if (path === '/created') return response.writeHead(201, { ...type, location: '/genome/1' }).end(BODY);
    if (path === '/none') return response.writeHead(204).end();
    if (path === '/empty') return response.writeHead(200, { 'content-length': 0 }).end();
    if (path === '/part') return response.writeHead(206, { ...type, 'content-range': 'bytes 0-3/100' }).end('part');
    if (path === '/same') return response.writeHead(304).end();
    if (path === '/gzip') return response.writeHead(200, { ...type, 'content-encoding': 'gzip' }).end(gzipSync(BODY));
    if (path === '/large') return response.writeHead(200, type).end(SECRET.repeat(4_000));
    if (path === '/streamed') {
      response.writeHead(200, type);
      for (let index = 0; index < 4_000; index++) response.write(SECRET);
      return response.end();
    }
    if (path === '/medium') return response.writeHead(200, type).end(SECRET.repeat(1_500));
    if (path === '/cut') {
      response.writeHead(200, { ...type, 'content-length': 10_000 }).write(SECRET);
      return setTimeout(() => response.destroy(), 50);
    }
    response.writeHead(200, {
      ...type, etag: '"5f2c"', 'last-modified': 'Sun, 22 Nov 2026 09:00:00 GMT', 'content-digest': 'sha-256=:AAAA:', 'content-disposition': `attachment; filename="${SECRET}.pdf"`, 'x-diagnosis': SECRET,
      'set-cookie': 'a=1', 'cache-control': 'public, max-age=60', 'accept-ranges': 'bytes',
    }).end(BODY);
  });
  common = await startGateway(pki, backend.port, { routes: ROUTES() });
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
});

afterAll(async () => {
  await common.stop();
  await backend.close();
});

async function start(parts: GatewayParts = {}): Promise<TestGateway> {
  const gateway = await startGateway(pki, backend.port, { routes: ROUTES(), ...parts });
  started.push(gateway);
  return gateway;
}

const patientOf = (id: string, key: string | KeyObject | KeyType): Promise<Issued> => pki.issueClient({
  subject: [['CN', `Patient ${id}`], ['OU', 'Patients']], san: { uri: `urn:patient:${id}` },
  ...(typeof key === 'string' && !key.includes('-----') ? { keyType: key as KeyType } : { key }),
});
const call = (gateway: TestGateway, path: string, client = pki.patient, options: AskOptions = {}): Promise<Reply> => ask(pki, gateway.port, path, { client, ...options });
const header = (jwe: Buffer): Record<string, unknown> => JSON.parse(Buffer.from(jwe.toString().split('.')[0] ?? '', 'base64url').toString()) as Record<string, unknown>;
const opened = async (jwe: Buffer, key: string): Promise<string> => Buffer.from((await compactDecrypt(jwe.toString(), createPrivateKey(key))).plaintext).toString();

describe('an answer of an encrypted route', () => {
  it('opens with the key of the client\'s certificate and with no other', async () => {
    const gateway = common;
    const reply = await call(gateway, '/genome/1');
    expect(reply.status).toBe(200);
    expect(reply.headers['content-type']).toBe('application/jose');
    expect(header(reply.body)).toMatchObject({
      alg: 'ECDH-ES+A256KW', enc: 'A256GCM', cty: 'application/fhir+json; charset=utf-8', 'x5t#S256': Buffer.from(pki.patient.sha256, 'hex').toString('base64url'),
    });
    expect(await opened(reply.body, pki.patient.key)).toBe(BODY);
    await expect(opened(reply.body, pki.doctor.key)).rejects.toThrow();
  });

  it('to an RSA key is RSA-OAEP-256, as read by other code than ours', async () => {
    const gateway = common;
    const key = await rsaKey();
    const reply = await call(gateway, '/genome/1', await patientOf('2', key));
    const [head = '', wrapped = '', iv = '', text = '', tag = ''] = reply.body.toString().split('.');
    expect(header(reply.body)).toMatchObject({ alg: 'RSA-OAEP-256', enc: 'A256GCM' });
    const content = privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, Buffer.from(wrapped, 'base64url'));
    const decipher = createDecipheriv('aes-256-gcm', content, Buffer.from(iv, 'base64url')).setAAD(Buffer.from(head)).setAuthTag(Buffer.from(tag, 'base64url'));
    expect(Buffer.concat([decipher.update(Buffer.from(text, 'base64url')), decipher.final()]).toString()).toBe(BODY);
  });

  it.each(['ec384', 'ec521'] as const)('opens with a key of the type %s', async (type) => {
    const gateway = common;
    const client = await patientOf(`of-${type}`, type);
    expect(await opened((await call(gateway, '/genome/1', client)).body, client.key)).toBe(BODY);
  });

  it('is never the same twice, and never to be stored', async () => {
    const gateway = common;
    const [one, other] = [await call(gateway, '/genome/1'), await call(gateway, '/genome/1')];
    expect(one.body.equals(other.body)).toBe(false);
    expect(one.headers['cache-control']).toBe('no-store');
  });

  it('keeps no field that could tell of what is in it', async () => {
    const gateway = common;
    const { headers } = await call(gateway, '/genome/1');
    expect(headers).toMatchObject({ 'set-cookie': ['a=1'] });
    for (const name of ['etag', 'last-modified', 'content-digest', 'content-disposition', 'x-diagnosis', 'accept-ranges', 'content-encoding']) expect(headers[name], name).toBeUndefined();
  });

  it.each([['/missing', 404], ['/broken', 500], ['/created', 201]] as const)('is encrypted with any status: %s', async (path, status) => {
    const gateway = common;
    const reply = await call(gateway, `/genome${path}`, pki.patient, { method: 'POST', body: '{}' });
    expect(reply.status).toBe(status);
    expect(await opened(reply.body, pki.patient.key)).toBe(BODY);
    if (status === 201) expect(reply.headers['location']).toBe('/genome/1');
  });

  it('without content has none: 204, and what answers HEAD; an empty one is encrypted', async () => {
    const gateway = common;
    const none = await call(gateway, '/genome/none');
    expect([none.status, none.headers['content-type'], none.body.length]).toEqual([204, undefined, 0]);
    const head = await call(gateway, '/genome/1', pki.patient, { method: 'HEAD' });
    expect([head.status, head.headers['content-type'], head.headers['content-length'], head.body.length]).toEqual([200, 'application/jose', undefined, 0]);
    expect(await opened((await call(gateway, '/genome/empty')).body, pki.patient.key)).toBe('');
  });

  it.each(['/part', '/same', '/gzip', '/large', '/streamed', '/cut'])('that cannot be encrypted as a whole is none: %s', async (path) => {
    const gateway = common;
    const reply = await call(gateway, `/genome${path}`);
    expect(reply.status).toBe(502);
    expect(reply.headers['content-type']).toBe('application/problem+json');
    expect(reply.json()).toMatchObject({ code: 'upstream_unavailable' });
    expect(reply.body.toString()).not.toContain('HIV');
    await expect.poll(async () => (await gateway.records()).find((record) => record['path'] === `/genome${path}`)).toMatchObject({ result: 'failed', status: 502, reason: path === '/cut' ? 'upstream_unavailable' : 'encryption_impossible' });
  });

  it('of any size up to max is encrypted', async () => {
    const gateway = common;
    expect(await opened((await call(gateway, '/genome/medium')).body, pki.patient.key)).toBe(SECRET.repeat(1_500));
  });

  it('is asked for as a whole, uncompressed, and whether or not it has changed', async () => {
    const gateway = common;
    await call(gateway, '/genome/1', pki.patient, { headers: { host: 'localhost', range: 'bytes=0-3', 'if-range': '"x"', 'if-none-match': '"5f2c"', 'if-modified-since': 'Sun, 22 Nov 2026 09:00:00 GMT', 'accept-encoding': 'gzip, br' } });
    const headers: NodeJS.Dict<string | string[]> = backend.seen.at(-1)?.headers ?? {};
    expect(headers['accept-encoding']).toBe('identity');
    for (const name of ['range', 'if-range', 'if-none-match', 'if-modified-since']) expect(headers[name], name).toBeUndefined();
    await call(gateway, '/genome/1', pki.patient, { method: 'PUT', body: '{}', headers: { host: 'localhost', 'if-match': 'W/"3"', 'if-none-match': '*' } });
    expect(backend.seen.at(-1)?.headers).toMatchObject({ 'if-match': 'W/"3"', 'if-none-match': '*' });
  });

  it('over HTTP/2 is the same, errors and refusals included', async () => {
    const gateway = common;
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    for (const [path, status] of [['/1', 200], ['/missing', 404]] as const) {
      const reply = await askHttp2(session, `/genome${path}`);
      expect([reply.status, reply.headers['content-type']]).toEqual([status, 'application/jose']);
      expect(await opened(reply.body, pki.patient.key)).toBe(BODY);
    }
    expect((await askHttp2(session, '/genome/gzip')).status).toBe(502);
    expect((await askHttp2(session, '/genome/large')).status).toBe(502);
    expect((await askHttp2(session, '/genome/1', { method: 'HEAD' })).headers['content-type']).toBe('application/jose');
    expect((await askHttp2(session, '/plain/1')).body.toString()).toBe(BODY);
    session.destroy();
  });

  it('of an upstream that speaks HTTP/2 is the same', async () => {
    const other = await startHttp2Backend(pki, (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-diagnosis': SECRET }));
      stream.end(SECRET);
    });
    const gateway = await startGateway(pki, other.port, { routes: ROUTES(), upstreams: http2Upstream(other.port) });
    const reply = await call(gateway, '/genome/1');
    expect(await opened(reply.body, pki.patient.key)).toBe(SECRET);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const second = await askHttp2(session, '/genome/1');
    expect(await opened(second.body, pki.patient.key)).toBe(SECRET);
    expect(second.trailers).toBeUndefined();
    session.destroy();
    await gateway.stop();
    await other.close();
  });

  it('is nowhere in plain on our side: not in what the client receives, in the records, the log or the state', async () => {
    const lines: unknown[] = [];
    const note = (...line: unknown[]): void => void lines.push(line);
    const gateway = await start({ log: { debug: note, info: note, warn: note, error: note } as never, top: 'tracing: { endpoint: "http://127.0.0.1:9/v1/traces" }' });
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const paths = ['/1', '/missing', '/broken', '/gzip', '/large', '/streamed', '/cut'];
    let received = '';
    for (const path of paths.slice(0, -1)) {
      received += await exchange(socket, `GET /genome${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, (text) => /\r\n\r\n[\s\S]*(\n0\r\n\r\n|\}\n)$/.test(text));
      socket.removeAllListeners('data');
    }
    socket.destroy();
    received += (await call(gateway, '/genome/cut')).body.toString();
    expect(received).toContain('application/jose');
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'request')).toHaveLength(paths.length);
    const kept = await Promise.all((await readdir(gateway.directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')));
    const everything = [received, JSON.stringify(lines), ...kept];
    for (const trace of ['HIV-1', 'REACTIVE', '7f3a9c', Buffer.from(SECRET).toString('base64').slice(4, 20), Buffer.from(SECRET).toString('hex')]) {
      expect(everything.some((text) => text.includes(trace)), trace).toBe(false);
    }
    const metrics = await gateway.gateway.status();
    expect(JSON.stringify(metrics)).not.toContain('REACTIVE');
  });
});

describe('what cannot be encrypted to', () => {
  it.each([
    ['an RSA key of 1024 bits', () => generateKey('rsa1024'), /RSA key of 1024 bits/],
    ['an Ed25519 key', () => generateKey('ed25519'), /type ed25519/],
    ['an Ed448 key', () => generateKey('ed448'), /type ed448/],
    ['an RSA-PSS key', () => Promise.resolve(generateKeyPairSync('rsa-pss', { modulusLength: 2048 })), /type rsa-pss/],
    ['a key on the curve secp256k1', () => Promise.resolve(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), /curve secp256k1/],
    ['a key on the curve P-224', () => Promise.resolve(generateKeyPairSync('ec', { namedCurve: 'secp224r1' })), /curve secp224r1/],
    ['a DSA key', () => Promise.resolve(generateKeyPairSync('dsa', { modulusLength: 2048 })), /type dsa/],
  ] as const)('%s', async (_, make, detail) => {
    const { publicKey } = await make();
    expect(encryptionKey(publicKey.export({ format: 'der', type: 'spki' }))).toMatchObject({ kind: 'unusable', detail: expect.stringMatching(detail) as string });
  });

  it('a certificate with a key for signatures only is refused with a reason of its own, over both versions of HTTP, and the upstream hears nothing', async () => {
    const client = await patientOf('9', 'ed25519');
    const gateway = await start();
    const before = backend.seen.length;
    expect((await call(gateway, '/genome/1', client)).json()).toMatchObject({ status: 403, code: 'role_denied' });
    const session = await openHttp2(pki, gateway.port, { client });
    expect((await askHttp2(session, '/genome/1')).status).toBe(403);
    session.destroy();
    expect(backend.seen.length).toBe(before);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['reason'] === 'encryption_key_unusable')).toHaveLength(2);
    expect((await call(gateway, '/plain/1', client)).status).toBe(200);
  });

  it('a WebSocket and a gRPC call: neither has an answer that ends', async () => {
    const gateway = await start();
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const before = backend.seen.length;
    const text = await exchange(socket, 'GET /genome/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
    expect(text).toContain('HTTP/1.1 403');
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const grpc = await askHttp2(session, '/genome/call', { method: 'POST', headers: { 'content-type': 'application/grpc', te: 'trailers' }, body: Buffer.alloc(5) });
    expect(grpc.status).toBe(403);
    session.destroy();
    expect(backend.seen.length).toBe(before);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['reason'] === 'encryption_impossible')).toHaveLength(2);
  });
});

describe('registered keys', () => {
  async function registered(): Promise<TestGateway> {
    const gateway = await start();
    await mkdir(gateway.path('keys'));
    await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('{ to: certificate, max: 64KiB }', '{ to: registered, keys: keys }'));
    await gateway.gateway.reload();
    return gateway;
  }
  const FILE = 'urn%3Apatient%3A1001';

  it('are taken in place of the certificate\'s: PEM, certificate or JWK, X25519 included, without a restart', async () => {
    const gateway = await registered();
    expect((await call(gateway, '/genome/1')).status).toBe(403);
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeFile(gateway.path(`keys/${FILE}.pem`), key.publicKey.export({ format: 'pem', type: 'spki' }));
    const pem = (made: { privateKey: KeyObject }): string => made.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
    await expect.poll(async () => (await call(gateway, '/genome/1')).status, { timeout: 40_000 }).toBe(200);
    const reply = await call(gateway, '/genome/1');
    expect(await opened(reply.body, pem(key))).toBe(BODY);
    await expect(opened(reply.body, pki.patient.key)).rejects.toThrow();
    expect(header(reply.body)).toMatchObject({ kid: expect.any(String) as string });
    const other = await patientOf('1002', 'ec');
    const x25519 = generateKeyPairSync('x25519');
    await writeFile(gateway.path('keys/urn%3Apatient%3A1002.jwk'), JSON.stringify(x25519.publicKey.export({ format: 'jwk' })));
    expect(await opened((await call(gateway, '/genome/1', other)).body, pem(x25519))).toBe(BODY);
    const third = await patientOf('1003', 'ec');
    const card = await pki.issueClient({ subject: [['CN', 'card']] });
    await writeFile(gateway.path('keys/urn%3Apatient%3A1003.pem'), card.certificate);
    expect(await opened((await call(gateway, '/genome/1', third)).body, card.key)).toBe(BODY);
  });

  it.each([
    ['a private key', (path: string) => writeFile(`${path}.pem`, pki.doctor.key), 'holds a private key'],
    ['a private JWK', (path: string) => writeFile(`${path}.jwk`, JSON.stringify(createPrivateKey(pki.doctor.key).export({ format: 'jwk' }))), 'holds a private key'],
    ['a key for signatures', (path: string) => writeFile(`${path}.jwk`, JSON.stringify({ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), use: 'sig' })), 'not for encryption'],
    ['garbage', (path: string) => writeFile(`${path}.pem`, 'garbage'), 'holds no public key'],
    ['garbage for JSON', (path: string) => writeFile(`${path}.jwk`, '{'), 'cannot be read'],
    ['a directory', (path: string) => mkdir(`${path}.pem`), 'cannot be read'],
    ['nothing', () => Promise.resolve(), 'no key is registered'],
  ] as const)('that are %s refuse their owner, closed', async (_, put, detail) => {
    const gateway = await registered();
    await put(gateway.path(`keys/${FILE}`));
    expect((await call(gateway, '/genome/1')).status).toBe(403);
    await expect.poll(async () => (await gateway.records()).find((record) => record['event'] === 'request')).toMatchObject({ result: 'denied', reason: 'encryption_key_unusable', detail: expect.stringContaining(detail) as string });
  });

  it('are files that no id leads away from', () => {
    for (const id of ['../../etc/passwd', '..', '/etc/passwd', 'a\u0000b', 'x'.repeat(5_000), 'ü']) {
      expect(keyFileName(id)).toMatch(/^[^/\0]{1,200}$/);
      expect(['.', '..']).not.toContain(`${keyFileName(id)}.pem`);
    }
  });
});

describe('encrypt of a route', () => {
  it.each([
    ['{ to: registered }', '', 'expected keys where to is registered'],
    ['{ to: certificate, keys: keys }', '', 'expected keys where to is registered'],
    ['{ to: somebody }', '', 'expected certificate or registered'],
    ['{ to: certificate }', ', preflight: allow', 'its answer could not be encrypted'],
  ])('written as %s%s is refused', async (to, more, message) => {
    await expect(start({ routes: ROUTES(to, more) })).rejects.toThrow(message);
  });

  it('that names a directory which is not there is refused', async () => {
    await expect(start({ routes: ROUTES('{ to: registered, keys: keys }') })).rejects.toThrow('"keys" is not a directory');
  });

  it('that is public is refused: there is nobody to encrypt to', async () => {
    await expect(start({ routes: ROUTES().replace('allow: [patient], upstream: records, encrypt', 'allow: [public], upstream: records, encrypt') })).rejects.toThrow('nobody to encrypt to');
  });

  it('is explained', async () => {
    const gateway = await start();
    const run = (cert: string) => wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path(cert), '--request', 'GET https://localhost/genome/1']);
    expect((await run('patient.pem')).stdout).toContain('encryption   ECDH-ES+A256KW to x5t#S256');
    await Promise.all(writeLeaf(gateway.path('signer'), await patientOf('9', 'ed25519')));
    expect(await run('signer.pem')).toMatchObject({ code: 3, stdout: expect.stringContaining('encryption_key_unusable: the certificate has a key of the type ed25519') as string });
  });
});

describe('the filter that encrypts', () => {
  it('overwrites what it has held, whether it was encrypted, refused or given up', async () => {
    const { publicKey } = await generateKey('ec');
    const key = encryptionKey(publicKey.export({ format: 'der', type: 'spki' }));
    if (key.kind !== 'key') throw new Error(key.detail);
    const make = () => createSealFilter({ ...key, names: {}, most: 20 }, false);
    const octets = (text: string): Buffer => Buffer.from(text);
    const [encrypted, refused, given] = [octets('encrypted'), octets('too long for twenty octets'), octets('given up')];
    for (const [filter, part] of [[make(), encrypted], [make(), refused], [make(), given]] as const) {
      filter.begin({ status: 200, fields: [], length: undefined });
      filter.read(part);
      if (part === encrypted) await filter.end();
      else if (part === given) filter.discard?.();
    }
    for (const part of [encrypted, refused, given]) expect(part.every((octet) => octet === 0)).toBe(true);
  });
});
