import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../src/cli/explain.ts';
import { parseHostAndPort } from '../src/config/addresses.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { startDistributionPoint, type DistributionPoint } from './support/distribution.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { judged, type Judged } from './support/judged.ts';
import { sClient } from './support/openssl.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, writeLeaf, type Authority, type CertificateOptions, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let point: DistributionPoint;
/** An issuing CA that no configuration knows. */
let branch: Authority;
const gateways: TestGateway[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

beforeEach(async () => {
  branch = await createAuthority({ name: [['CN', 'Branch CA'], ['O', 'Hospital']], issuer: pki.root });
  point = await startDistributionPoint({ 'branch.cer': branch.der });
});

afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await point.stop();
});

const listed = (): string => new URL(point.url('')).host;

/** A gateway that knows the root alone, and fetches from these hosts. */
async function gatewayFor(hosts: readonly string[] = [listed()], revocation = '{ check: off, allow_local: true }', threads = 2): Promise<TestGateway> {
  const fetch = hosts.length === 0 ? '' : `, fetch_intermediates: { from: ${JSON.stringify(hosts)} }`;
  const gateway = await startGateway(pki, backend.port, { threads, clientAuth: `{ mode: optional, trust: [root.pem]${fetch} }`, revocation });
  gateways.push(gateway);
  return gateway;
}

/** The same for one client with one connection. */
const gatewayForOne = (hosts?: readonly string[], revocation?: string): Promise<TestGateway> => gatewayFor(hosts, revocation, 1);

let people = 0;

/** A doctor who sends the leaf alone, which says where its issuer is. */
async function doctorNaming(url: string | readonly string[], issuer = branch, options: Partial<CertificateOptions> = {}): Promise<Issued> {
  const issued = await issueCertificate(issuer, { subject: [['CN', `Dr ${++people}`], ['OU', 'Doctors']], caIssuers: url, ...options });
  return { ...issued, chain: issued.certificate };
}

const doctor = (options?: Partial<CertificateOptions>): Promise<Issued> => doctorNaming(point.url('branch.cer'), branch, options);

const verdict = (gateway: TestGateway, client: Issued): Promise<Judged> => judged(pki, gateway, client);

async function messageOf(authorities: readonly Authority[], form: 'DER' | 'PEM'): Promise<Buffer> {
  const gateway = gateways[0]!;
  await writeFile(gateway.path('bundle.pem'), authorities.map(({ certificate }) => certificate).join(''));
  const { stdout } = await promisify(execFile)('openssl', ['crl2pkcs7', '-nocrl', '-certfile', gateway.path('bundle.pem'), '-outform', form], { encoding: 'buffer' });
  return stdout;
}

describe('a missing intermediate', () => {
  it('is fetched from a listed host, and learnt', async () => {
    const gateway = await gatewayFor();
    expect(await verdict(gateway, await doctor())).toEqual({ reason: 'good' });
    expect(await verdict(gateway, await doctor())).toEqual({ reason: 'good' });
    expect(point.requests).toMatchObject([{ url: '/branch.cer', status: 200 }]);
  });

  it.each<[string, () => Buffer | Promise<Buffer>]>([
    ['DER', () => branch.der],
    ['PEM', () => Buffer.from(branch.certificate)],
    ['CMS', () => messageOf([pki.root, branch], 'DER')],
    ['CMS in PEM', () => messageOf([pki.root, branch], 'PEM')],
  ])('is read from %s', async (_form, file) => {
    const gateway = await gatewayForOne();
    point.files.set('branch.cer', await file());
    expect(await verdict(gateway, await doctor())).toEqual({ reason: 'good' });
  });

  it('that names the next one leads to that, and no further than two', async () => {
    const authority = (name: string, issuer: Authority, above: string) => createAuthority({ name: [['CN', name]], issuer, caIssuers: point.url(above) });
    const second = await authority('Second CA', branch, 'branch.cer');
    const third = await authority('Third CA', second, 'second.cer');
    point.files.set('second.cer', second.der);
    point.files.set('third.cer', third.der);
    const gateway = await gatewayFor();
    expect(await verdict(gateway, await doctorNaming(point.url('third.cer'), third))).toMatchObject({ reason: 'untrusted_issuer' });
    expect(point.requests.map(({ url }) => url)).toEqual(['/third.cer', '/second.cer']);
    expect(await verdict(gateway, await doctorNaming(point.url('second.cer'), second))).toEqual({ reason: 'good' });
  });

  it('is fetched above those that a client does send', async () => {
    const second = await createAuthority({ name: [['CN', 'Second CA']], issuer: branch, caIssuers: point.url('branch.cer') });
    const issued = await issueCertificate(second, { subject: [['CN', 'Dr Half'], ['OU', 'Doctors']] });
    expect(await verdict(await gatewayForOne(), { ...issued, chain: `${issued.certificate}${second.certificate}` })).toEqual({ reason: 'good' });
  });

  it('is fetched once for any number of connections that wait for it', async () => {
    const gateway = await gatewayFor();
    const held: ServerResponse[] = [];
    point.instead = (_request, response) => void held.push(response);
    const client = await doctor();
    const replies = Array.from({ length: 20 }, () => ask(pki, gateway.port, '/records', { client }));
    await expect.poll(() => held.length).toBe(1);
    held[0]?.end(branch.der);
    expect((await Promise.all(replies)).map(({ status }) => status)).toEqual(replies.map(() => 200));
    expect(point.requests).toHaveLength(1);
  });

  it('is fetched through the proxy when there is one', async () => {
    const gateway = await gatewayForOne(['pki.hospital.test'], `{ check: off, proxy: "${point.url('')}" }`);
    expect(await verdict(gateway, await doctorNaming('http://PKI.hospital.test/branch.cer'))).toEqual({ reason: 'good' });
    expect(point.requests.map(({ url }) => url)).toEqual(['http://pki.hospital.test/branch.cer']);
  });

  it('brings its own CRL into force', async () => {
    const gateway = await gatewayFor([listed()], '{ sources: [crl], allow_local: true, crl: { files: [root.crl], from_certificate: true } }');
    const points = [{ urls: [point.url('branch.crl')] }];
    const revoked = await doctor({ crlDistributionPoints: points });
    point.files.set('branch.crl', await issueCrl(branch, { revoked: [{ serial: revoked.serialHex }] }));
    expect(await verdict(gateway, revoked)).toMatchObject({ reason: 'revoked_crl' });
    expect(await verdict(gateway, await doctor({ crlDistributionPoints: points }))).toEqual({ reason: 'good' });
  });

  it.each(['tls1_2', 'tls1_3'])('is there for sessions that are resumed over %s on whichever thread, its host gone (TRAPS 8)', async (version) => {
    const gateway = await gatewayFor();
    await Promise.all(writeLeaf(gateway.path('lone'), await doctor()));
    const as = ['-CAfile', gateway.path('root.pem'), '-cert', gateway.path('lone.pem'), '-key', gateway.path('lone.key'), '-servername', 'localhost', `-${version}`];
    const get = 'GET /records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const session = gateway.path('session.pem');
    expect(await sClient(gateway.port, [...as, '-sess_out', session], get)).toMatchObject({ status: 200, resumed: false });
    await point.stop();
    for (let round = 0; round < 8; round += 1) {
      expect(await sClient(gateway.port, [...as, '-sess_in', session], get)).toMatchObject({ status: 200, resumed: true });
    }
    await point.start();
  });

  it('is fetched by explain as well', async () => {
    const gateway = await gatewayForOne();
    await writeFile(gateway.path('lone.pem'), (await doctor()).certificate);
    let text = '';
    expect(await explain({ config: gateway.path('wardgate.yaml'), cert: gateway.path('lone.pem'), address: '127.0.0.1' }, (part) => (text += part))).toBe(0);
    expect(text).toContain('CN=Branch CA,O=Hospital <- CN=Hospital Root');
  });
});

describe('nothing is fetched for a stranger (TRAPS 17)', () => {
  it.each<[string, () => readonly string[], string, () => string]>([
    ['that is not switched on', () => [], '', () => point.url('branch.cer')],
    ['whose host is not listed', () => ['pki.hospital.test'], '', () => point.url('branch.cer')],
    ['whose port is not listed', () => ['127.0.0.1', '127.0.0.1:1'], '', () => point.url('branch.cer')],
    ['whose name only begins like a listed one', () => ['127.0.0.1', listed()], '', () => point.url('branch.cer').replace('127.0.0.1', '127.0.0.1.nip.test')],
    ['who names a password', () => [listed()], '', () => point.url('branch.cer').replace('http://', 'http://user:password@')],
    ['who names LDAP', () => [listed()], '', () => `ldap://${listed()}/cn=Branch%20CA?cACertificate`],
    ['who names this host', () => [listed()], 'allow_local: false', () => point.url('branch.cer')],
    ['whose listed name leads to this host', () => [listed().replace('127.0.0.1', 'localhost')], 'allow_local: false', () => point.url('branch.cer').replace('127.0.0.1', 'localhost')],
  ])('%s', async (_who, hosts, local, url) => {
    const gateway = await gatewayForOne(hosts(), `{ check: off, ${local || 'allow_local: true'} }`);
    expect(await verdict(gateway, await doctorNaming(url()))).toMatchObject({ reason: 'untrusted_issuer' });
    expect(point.requests).toEqual([]);
  });

  it('who is trusted as it is', async () => {
    const gateway = await gatewayForOne();
    const issued = await issueCertificate(branch, { subject: [['CN', 'Dr Whole'], ['OU', 'Doctors']], caIssuers: point.url('branch.cer') });
    expect(await verdict(gateway, issued)).toEqual({ reason: 'good' });
    expect(point.requests).toEqual([]);
  });

  it('who is refused for another reason', async () => {
    const gateway = await gatewayForOne();
    expect(await verdict(gateway, await doctorNaming(point.url('branch.cer'), pki.root, { eku: ['serverAuth'] }))).toMatchObject({ reason: 'eku_invalid' });
    expect(point.requests).toEqual([]);
  });

  it('more than ten times a second, whatever URLs are made up', async () => {
    const gateway = await gatewayFor();
    const strangers = await Promise.all(Array.from({ length: 30 }, (_, index) => doctorNaming([point.url(`a${index}`), point.url(`b${index}`)])));
    const started = performance.now();
    await Promise.all(strangers.map((client) => ask(pki, gateway.port, '/records', { client })));
    const seconds = Math.ceil((performance.now() - started) / 1_000) + 1;
    expect(point.requests.length).toBeGreaterThan(0);
    expect(point.requests.length).toBeLessThanOrEqual(10 * seconds);
    expect(point.requests.length).toBeLessThan(60);
  });
});

describe('what a listed host sends instead of the issuer', () => {
  const endless = (response: ServerResponse): void => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384, 0x30)));
    };
    response.on('drain', more);
    more();
  };
  /** One gateway serves while nothing that it is sent teaches it anything, each from another URL: no more than ten, which is what it fetches in a second. */
  let hostile: DistributionPoint;
  let common: TestGateway;
  let answers = 0;

  beforeAll(async () => {
    hostile = await startDistributionPoint();
    common = await startGateway(pki, backend.port, {
      threads: 1, clientAuth: `{ mode: optional, trust: [root.pem], fetch_intermediates: { from: ["${new URL(hostile.url('')).host}"] } }`, revocation: '{ check: off, allow_local: true }',
    });
  });

  afterAll(async () => {
    await common.stop();
    await hostile.stop();
  });

  it.each<[string, RegExp, (response: ServerResponse) => void]>([
    ['garbage', /octets too many/, (response) => void response.end(Buffer.alloc(1_000, 0x30))],
    ['a page', /no certificate/, (response) => void response.end('<!doctype html><title>Not here</title>')],
    ['nothing', /no certificate/, (response) => void response.end()],
    ['a refusal', /HTTP status 500/, (response) => void response.writeHead(500).end()],
    ['an endless body', /longer than 65536 octets/, endless],
    ['an announcement of much', /longer than 65536 octets/, (response) => void response.writeHead(200, { 'content-length': '99999999' }).write('0')],
    ['silence', /not fetched in time/, () => undefined],
    ['a way to another host', /another host/, (response) => void response.writeHead(302, { location: 'http://pki.elsewhere.test/branch.cer' }).end()],
    ['a way to another port', /another port/, (response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/branch.cer' }).end()],
  ])('%s: the client stays untrusted, and the record says why', async (_what, detail, answer) => {
    hostile.instead = (_request, response) => answer(response);
    expect(await verdict(common, await doctorNaming(hostile.url(`${++answers}.cer`)))).toEqual({ reason: 'untrusted_issuer', detail: expect.stringMatching(detail) });
  });

  it('another CA of the same name: the client stays untrusted, and nothing of it is kept', async () => {
    const gateway = await gatewayFor();
    const twin = await createAuthority({ name: [['CN', 'Branch CA'], ['O', 'Hospital']], issuer: pki.root });
    point.files.set('branch.cer', twin.der);
    expect(await verdict(gateway, await doctor())).toMatchObject({ reason: 'untrusted_issuer' });
    const ofTwin = await issueCertificate(twin, { subject: [['CN', 'Dr Twin'], ['OU', 'Doctors']] });
    expect(await verdict(gateway, { ...ofTwin, chain: ofTwin.certificate })).toMatchObject({ reason: 'untrusted_issuer' });
  });

  it('a root of its own: it is no anchor', async () => {
    const gateway = await gatewayForOne();
    const root = await createAuthority({ name: [['CN', 'Strange Root']] });
    point.files.set('strange.cer', root.der);
    expect(await verdict(gateway, await doctorNaming(point.url('strange.cer'), root))).toMatchObject({ reason: 'untrusted_issuer' });
    expect(point.requests).toHaveLength(1);
  });

  it('a failure is not asked for again at once', async () => {
    const gateway = await gatewayFor();
    point.files.delete('branch.cer');
    expect(await verdict(gateway, await doctor())).toMatchObject({ reason: 'untrusted_issuer', detail: expect.stringContaining('HTTP status 404') });
    expect(await verdict(gateway, await doctor())).toMatchObject({ reason: 'untrusted_issuer', detail: expect.stringContaining('HTTP status 404') });
    expect(point.requests).toHaveLength(1);
  });

  it('a slow answer holds up nobody else', async () => {
    const gateway = await gatewayFor();
    let asked = false;
    point.instead = () => void (asked = true);
    const waiting = verdict(gateway, await doctor());
    await expect.poll(() => asked).toBe(true);
    const started = performance.now();
    const times = [];
    for (let round = 0; round < 4; round += 1) {
      const began = performance.now();
      expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
      times.push(performance.now() - began);
    }
    // On a busy machine any one of them may take its time; were they held up, none would be quicker than the fetch's two seconds.
    expect(Math.min(...times)).toBeLessThan(1_500);
    expect(await waiting).toMatchObject({ reason: 'untrusted_issuer' });
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe('a host that may be asked', () => {
  it.each([
    ['PKI.hospital.test', 'pki.hospital.test'], ['pki.hospital.test:8080', 'pki.hospital.test:8080'], ['10.0.0.5', '10.0.0.5'], ['10.0.0.5:80', '10.0.0.5:80'],
    ['2001:DB8::0:5', '[2001:db8::5]'], ['[2001:db8::5]:8080', '[2001:db8::5]:8080'],
  ])('%s is written %s in URLs', (text, host) => {
    expect(parseHostAndPort(text)).toBe(host);
  });

  it.each(['', '*.hospital.test', 'http://pki.hospital.test', 'pki.hospital.test/ca', 'pki.hospital.test:0', 'pki.hospital.test:65536', 'user@pki.hospital.test', 'fe80::1%eth0', '*'])('%j is refused', (text) => {
    expect(parseHostAndPort(text)).toBeUndefined();
  });
});
