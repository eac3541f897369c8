import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import { LOCAL_HEADER, proxyHeader } from '../src/forward/upstream/proxy-header.ts';
import { configuration, type TestGateway } from './support/gateway.ts';
import { testPki, writePki, type Issued, type PkiFiles, type TestPki } from './support/pki.ts';
import { freePort, untilListening } from './support/programs.ts';
import { readHeaderStrictly, startProxiedBackend, type ProxiedBackend } from './support/proxied-backend.ts';
import { connectionRecords, gone, openStream, startStreamGateway, streamParts } from './support/stream-gateway.ts';

let pki: TestPki;
let lab: Issued;
let backend: ProxiedBackend;

beforeAll(async () => {
  pki = await testPki({ names: ['localhost', 'mllp.localhost'] });
  lab = await pki.issueClient({ subject: [['CN', 'Labor Süd 1'], ['OU', 'Devices']], san: { dns: 'lab-1' } });
  backend = await startProxiedBackend(pki, (socket) => socket.pipe(socket));
});

afterAll(() => backend.close());

const SSL_VERSION = 0x21;
const SSL_CN = 0x22;
const SSL_CIPHER = 0x23;
const AUTHORITY = 0x02;
const UNIQUE_ID = 0x05;

const begin = (form: string, more: { listener?: string; upstream?: string } = {}): Promise<TestGateway> =>
  startStreamGateway(pki, backend.port, { ...more, upstream: `    proxy_protocol: ${form}\n${more.upstream ?? ''}` });

/** Sends octets, closes its half, and reads what comes back to the end. */
async function echoed(socket: TLSSocket, octets: Buffer): Promise<Buffer> {
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  socket.end(octets);
  await gone(socket);
  return Buffer.concat(parts);
}

describe('the header', () => {
  const source = { address: '192.0.2.7', port: 50_000 };
  const tls = { version: 'TLSv1.2', cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256', serverName: 'a.test', alpn: 'dicom', resumed: false, commonName: 'Dr Wang' };

  it('tells addresses of either family, and of both as IPv6', () => {
    const told = (from: string, to: string) => readHeaderStrictly(proxyHeader({ source: { address: from, port: 1 }, destination: { address: to, port: 65_535 }, uniqueId: 'x' }))?.header;
    expect(told('192.0.2.7', '10.0.0.1')).toMatchObject({ command: 'PROXY', family: 0x11, source: ['192.0.2.7', 1], destination: ['10.0.0.1', 65_535] });
    expect(told('2001:db8::7', '::1')).toMatchObject({ family: 0x21, source: ['20010db8000000000000000000000007', 1], destination: [`${'0'.repeat(31)}1`, 65_535] });
    expect(told('192.0.2.7', '::1')).toMatchObject({ family: 0x21, source: ['00000000000000000000ffffc0000207', 1] });
    expect(told('', '::1')).toEqual({ command: 'PROXY', family: 0, values: new Map([[UNIQUE_ID, 'x']]) });
  });

  it('tells of TLS as OpenSSL names it, and of the certificate whether it came in this handshake', () => {
    const told = (resumed: boolean) => readHeaderStrictly(proxyHeader({ source, destination: source, uniqueId: 'x', tls: { ...tls, resumed } }))?.header;
    expect(told(false)).toMatchObject({
      values: new Map([[0x01, 'dicom'], [AUTHORITY, 'a.test'], [UNIQUE_ID, 'x']]),
      ssl: { client: 7, verify: 0, values: new Map([[SSL_VERSION, 'TLSv1.2'], [SSL_CN, 'Dr Wang'], [SSL_CIPHER, tls.cipher]]) },
    });
    expect(told(true)?.ssl?.client).toBe(5);
  });

  it('cuts what a client has made too long between characters', () => {
    const header = readHeaderStrictly(proxyHeader({ source, destination: source, uniqueId: 'x', tls: { ...tls, commonName: '王'.repeat(500) } }))?.header;
    expect(header?.ssl?.values.get(SSL_CN)).toBe('王'.repeat(85));
  });

  it('of the gateway\'s own connections tells nothing', () => {
    expect(readHeaderStrictly(LOCAL_HEADER)).toEqual({ length: 16, header: { command: 'LOCAL', family: 0, values: new Map() } });
  });
});

describe('an upstream behind a PROXY header', () => {
  it('is told whose stream it is before TLS begins, and gets every octet of it', async () => {
    const gateway = await begin('v2-ssl-cn');
    const socket = await openStream(pki, gateway, lab);
    const { localPort } = socket;
    const cipher = socket.getCipher().name;
    const octets = randomBytes(3_000_000);
    expect((await echoed(socket, octets)).equals(octets)).toBe(true);
    const header = backend.headers.at(-1);
    expect(header).toMatchObject({ command: 'PROXY', family: 0x11, source: ['127.0.0.1', localPort], destination: ['127.0.0.1', gateway.port], ssl: { client: 7, verify: 0 } });
    expect(header?.ssl?.values).toEqual(new Map([[SSL_VERSION, 'TLSv1.3'], [SSL_CN, 'Labor Süd 1'], [SSL_CIPHER, cipher]]));
    expect(header?.values.get(AUTHORITY)).toBe('localhost');
    await expect.poll(async () => (await connectionRecords(gateway)).map((record) => [record['result'], record['request_id'], record['bytes_in'] ?? 0, record['bytes_out'] ?? 0])).toEqual([
      ['permitted', header?.values.get(UNIQUE_ID), 0, 0], ['done', header?.values.get(UNIQUE_ID), octets.length, octets.length],
    ]);
    await gateway.stop();
  });

  it('is told that a resumed session\'s certificate came in an earlier handshake', async () => {
    const gateway = await begin('v2-ssl');
    const first = await openStream(pki, gateway, lab, { maxVersion: 'TLSv1.2' });
    const session = first.getSession();
    await echoed(first, Buffer.from('x'));
    const second = await openStream(pki, gateway, lab, { maxVersion: 'TLSv1.2', session });
    expect(second.isSessionReused()).toBe(true);
    await echoed(second, Buffer.from('x'));
    const [before, after] = backend.headers.slice(-2);
    expect([before?.ssl?.client, after?.ssl?.client]).toEqual([7, 5]);
    expect(after?.ssl?.values.get(SSL_VERSION)).toBe('TLSv1.2');
    expect([before, after].some((header) => header?.ssl?.values.has(SSL_CN))).toBe(false);
    await gateway.stop();
  });

  it('is told no more than addresses and the id by v2, those that a balancer in front tells included', async () => {
    const gateway = await begin('v2', { listener: 'proxy_protocol: { from: [127.0.0.0/8] }' });
    const raw = connect(gateway.port, '127.0.0.1');
    await once(raw, 'connect');
    raw.write('PROXY TCP4 192.0.2.7 10.0.0.1 40001 2762\r\n');
    const socket = connectTls({ socket: raw, servername: 'localhost', ca: pki.root.certificate, cert: lab.chain, key: lab.key, allowHalfOpen: true } as never);
    await once(socket, 'secureConnect');
    await echoed(socket, Buffer.from('x'));
    expect(backend.headers.at(-1)).toEqual({ command: 'PROXY', family: 0x11, source: ['192.0.2.7', 40_001], destination: ['127.0.0.1', gateway.port], values: new Map([[UNIQUE_ID, expect.any(String)]]) });
    await gateway.stop();
  });

  it('is looked at with a header of the gateway\'s own', async () => {
    const before = backend.headers.length;
    const gateway = await begin('v2-ssl', { upstream: '    health: { interval: 1s, timeout: 900ms }' });
    await expect.poll(() => backend.headers.slice(before).map(({ command }) => command)).toContain('LOCAL');
    expect(backend.headers.slice(before).every(({ command }) => command === 'LOCAL')).toBe(true);
    expect(backend.faults).toEqual([]);
    await gateway.stop();
  });

  it.each([
    ['is not there', (text: string) => text.replace(/tls:\/\/127\.0\.0\.1:\d+/, 'tls://127.0.0.1:1')], ['is another', (text: string) => text.replace('server_name: records.internal', 'server_name: elsewhere.internal')],
  ])('that %s fails the stream, and gets nothing of it', async (_what, change) => {
    const gateway = await begin('v2');
    const text = configuration(backend.port, streamParts(backend.port, { upstream: '    proxy_protocol: v2' }));
    expect(change(text)).not.toBe(text);
    await gateway.configure(change(text));
    await gateway.gateway.reload();
    const socket = await openStream(pki, gateway, lab);
    await gone(socket);
    await expect.poll(() => connectionRecords(gateway)).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable' }]);
    socket.destroy();
    await gateway.stop();
  });

  it('needs connections of its own: the setting is refused for routes', () => {
    const parsed = parseConfig(configuration(1).replace('server_name: records.internal }', 'server_name: records.internal }\n    proxy_protocol: v2'), 'x.yaml', { cores: 1 });
    expect(parsed.kind === 'invalid' && parsed.issues.map(({ path, message }) => `${path}: ${message}`)).toEqual([expect.stringMatching(/upstreams\.records\.proxy_protocol: a PROXY header names one client/)]);
  });
});

const HAPROXY = ['haproxy', '/usr/sbin/haproxy'].find((program) => spawnSync(program, ['-v'], { stdio: 'ignore' }).error === undefined);
if (HAPROXY === undefined) console.log('skipped: haproxy is not installed, so PROXY headers are not tried with it');

describe.skipIf(HAPROXY === undefined)('HAProxy', () => {
  let files: PkiFiles;
  let directory: string;
  let port: number;
  let haproxy: ChildProcess;

  beforeAll(async () => {
    files = await writePki(pki);
    directory = await mkdtemp(join(tmpdir(), 'wardgate-haproxy-'));
    port = await freePort();
    await writeFile(join(directory, 'server.pem'), pki.backendServer.chain + pki.backendServer.key, { mode: 0o600 });
    await writeFile(join(directory, 'haproxy.cfg'), `
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
frontend front
  bind 127.0.0.1:${port} accept-proxy ssl crt ${directory}/server.pem ca-file ${files.path('backend-ca.pem')} verify required
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id] %[ssl_c_s_dn(CN)]"
`);
    haproxy = spawn(HAPROXY as string, ['-db', '-f', join(directory, 'haproxy.cfg')], { stdio: ['ignore', 'pipe', 'pipe'] });
    await untilListening(port, haproxy);
  });

  afterAll(async () => {
    haproxy.kill();
    await rm(directory, { recursive: true, force: true });
    await rm(files.directory, { recursive: true, force: true });
  });

  it.each(['v2', 'v2-ssl', 'v2-ssl-cn'])('reads %s in front of TLS', async (form) => {
    const gateway = await startStreamGateway(pki, port, { upstream: `    proxy_protocol: ${form}` });
    const socket = await openStream(pki, gateway, lab, { servername: 'mllp.localhost' });
    const { localPort } = socket;
    let answer = '';
    socket.on('data', (part: Buffer) => (answer += part.toString()));
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await gone(socket);
    const [begun] = await connectionRecords(gateway);
    expect(answer).toContain('HTTP/1.1 200');
    expect(answer.split('\r\n\r\n')[1]).toBe(`127.0.0.1 ${localPort} ${gateway.port} ${form === 'v2' ? '' : 'mllp.localhost'} ${begun?.['request_id']} wardgate`);
    socket.end();
    await gateway.stop();
  });
});
