import { readdir, stat, writeFile } from 'node:fs/promises';
import { createServer as createTcpServer } from 'node:net';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { startDistributionPoint, type DistributionPoint } from './support/distribution.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { judged } from './support/judged.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, type CrlOptions, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let point: DistributionPoint;
const gateways: TestGateway[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

beforeEach(async () => {
  point = await startDistributionPoint({ 'issuing.crl': await crl(), 'root.crl': await issueCrl(pki.root) });
});

afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await point.stop();
});

function crl(options: CrlOptions = {}): Promise<Buffer> {
  return issueCrl(pki.issuing, { revoked: [{ serial: pki.revokedDoctor.serialHex, reason: 'keyCompromise' }], ...options });
}

/** A gateway whose CRL section is this, with refreshes often enough to see them. */
async function gatewayWith(section: string, others = '', threads = 2): Promise<TestGateway> {
  const gateway = await startGateway(pki, backend.port, { threads, revocation: `{ sources: [crl], ${others} crl: { ${section.includes('refresh') ? '' : 'refresh: 1s, '}${section} } }` });
  gateways.push(gateway);
  return gateway;
}

const fromUrls = (others = ''): Promise<TestGateway> => gatewayWith(`urls: [${point.url('issuing.crl')}, ${point.url('root.crl')}]`, others);

/** One whose clients name their distribution point, on this host; the root's CRL is a file. */
const fromCertificates = (section = '', others = '', threads = 2): Promise<TestGateway> => gatewayWith(`files: [root.crl], from_certificate: true, ${section}`, `allow_local: true, ${others}`, threads);

/** The same for one client with one connection. */
const forOne = (section = ''): Promise<TestGateway> => fromCertificates(section, '', 1);

let serial = 0;

/** A doctor whose certificate names the distribution point `url`. */
function doctorNaming(...urls: string[]): Promise<Issued> {
  return pki.issueClient({ subject: [['CN', `Dr ${++serial}`], ['OU', 'Doctors']], crlDistributionPoints: [{ urls }] });
}

const reasonFor = async (gateway: TestGateway, client: Issued): Promise<unknown> => (await judged(pki, gateway, client)).reason;

async function sourceOf(gateway: TestGateway, url: string) {
  return (await gateway.gateway.status()).crls.sources.find(({ source }) => source === url);
}

describe('a CRL from a configured URL', () => {
  it('decides from the first connection on, on this host too', async () => {
    const gateway = await fromUrls();
    expect(await reasonFor(gateway, pki.doctor)).toBe('good');
    expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
  });

  it('is asked for again on condition, and costs nothing while it is the same', async () => {
    const gateway = await fromUrls();
    await expect.poll(() => point.requests.filter(({ status }) => status === 304).length).toBeGreaterThan(1);
    const epoch = (await gateway.gateway.status()).epoch;
    const before = point.requests.length;
    await expect.poll(() => point.requests.length).toBeGreaterThan(before + 2);
    expect((await gateway.gateway.status()).epoch).toBe(epoch);
    expect(await reasonFor(gateway, pki.doctor)).toBe('good');
  });

  it('that changes ends the open connections of who is on it now', async () => {
    const gateway = await fromUrls();
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    expect(await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toContain(' 200 ');
    const closed = once(socket, 'close');
    point.files.set('issuing.crl', await crl({ number: 2, revoked: [{ serial: pki.patient.serialHex }] }));
    await closed;
    expect(await reasonFor(gateway, pki.patient)).toBe('revoked_crl');
  });

  it('stays in force when the server is gone or serves an older one', async () => {
    point.files.set('issuing.crl', await crl({ number: 7 }));
    const gateway = await fromUrls();
    expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
    point.files.set('issuing.crl', await crl({ number: 6, revoked: [] }));
    await expect.poll(async () => (await sourceOf(gateway, point.url('issuing.crl')))?.last_error?.detail).toMatch(/number 6 is older than number 7/);
    expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
    expect(await reasonFor(gateway, pki.doctor)).toBe('good');
    await point.stop();
    expect(await reasonFor(gateway, await pki.issueClient({ subject: [['CN', 'Dr New'], ['OU', 'Doctors']] }))).toBe('good');
    await point.start();
  });

  it('is not forgotten for what anybody signed, nor for the list of another CA', async () => {
    const stranger = await createAuthority({ name: [['CN', 'Hospital Issuing CA'], ['O', 'Hospital']] });
    const gateway = await fromUrls('unavailable: allow,');
    expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
    const failed = async (): Promise<boolean> => (await sourceOf(gateway, point.url('issuing.crl')))?.last_error !== undefined;
    for (const laid of [{ crl: await issueCrl(stranger, { number: 9 }), fails: true }, { crl: await issueCrl(pki.root, { number: 2 }), fails: false }]) {
      point.files.set('issuing.crl', laid.crl);
      await expect.poll(failed).toBe(laid.fails);
      expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
    }
    // With a Last-Modified of 2099 laid beside it, a server would go on saying that nothing has changed.
    const before = point.requests.length;
    await expect.poll(() => point.requests.slice(before).some(({ url, headers }) => url.endsWith('issuing.crl') && headers['if-none-match'] === undefined)).toBe(true);
  });

  it('is fetched through the proxy when there is one', async () => {
    const gateway = await gatewayWith('urls: [http://pki.hospital.test/issuing.crl, http://pki.hospital.test/root.crl]', `proxy: "${point.url('')}",`, 1);
    expect(await reasonFor(gateway, pki.doctor)).toBe('good');
    expect(point.requests.map(({ url }) => url)).toContain('http://pki.hospital.test/issuing.crl');
  });

  it('is shown in the status with its times', async () => {
    const gateway = await fromUrls();
    await reasonFor(gateway, pki.doctor);
    expect(await sourceOf(gateway, point.url('issuing.crl'))).toMatchObject({
      kind: 'url', entries: 1, last_success: expect.stringMatching(/^20/), this_update: expect.stringMatching(/^20/), next_update: expect.stringMatching(/^20/),
    });
  });

  it('is kept for its owner alone', async () => {
    const gateway = await fromUrls();
    // Names with a further ending are on their way to their place, and may be gone in a moment.
    const kept = async (): Promise<string[]> => (await readdir(gateway.path('state/crls')).catch(() => [])).filter((file) => file.endsWith('.kept'));
    await expect.poll(async () => (await kept()).length).toBe(3);
    expect((await stat(gateway.path('state/crls'))).mode & 0o777).toBe(0o700);
    const files = await kept();
    for (const file of files) expect((await stat(gateway.path(`state/crls/${file}`))).mode & 0o777).toBe(0o600);
  });
});

describe('a CRL that a certificate names', () => {
  it('is fetched once for all who need it, and they wait for it', async () => {
    const gateway = await fromCertificates();
    const doctor = await doctorNaming(point.url('issuing.crl'));
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(pki, gateway.port, '/records', { client: doctor })));
    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 200));
    expect(point.requests.filter(({ headers }) => headers['if-none-match'] === undefined)).toHaveLength(1);
  });

  it('refuses whom it lists', async () => {
    const gateway = await forOne();
    const doctor = await doctorNaming(point.url('issuing.crl'));
    point.files.set('issuing.crl', await crl({ revoked: [{ serial: doctor.serialHex }] }));
    expect(await reasonFor(gateway, doctor)).toBe('revoked_crl');
  });

  it('comes from the next name when the first has none', async () => {
    const gateway = await forOne();
    expect(await reasonFor(gateway, await doctorNaming('ldap:///CN=ca', point.url('nothing.crl'), point.url('issuing.crl')))).toBe('good');
  });

  it('is verified by the intermediate that the handshake brought', async () => {
    const gateway = await startGateway(pki, backend.port, {
      threads: 1, clientAuth: '{ mode: optional, trust: [root.pem] }', revocation: '{ sources: [crl], allow_local: true, crl: { files: [root.crl], from_certificate: true } }',
    });
    gateways.push(gateway);
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('good');
  });

  // TRAPS 17
  it('is not fetched for a stranger', async () => {
    const gateway = await forOne();
    const stranger = await createAuthority({ name: [['CN', 'Hospital Issuing CA'], ['O', 'Hospital']] });
    const client = await issueCertificate(stranger, { subject: [['CN', 'Dr Wang'], ['OU', 'Doctors']], crlDistributionPoints: [point.url('issuing.crl')] });
    await ask(pki, gateway.port, '/records', { client });
    expect(point.requests).toEqual([]);
  });

  // TRAPS 17
  it.each([
    ['this host', (name: string) => point.url(name)],
    ['a name of this host', (name: string) => point.url(name).replace('127.0.0.1', 'localhost')],
  ])('is not fetched from %s unless that is allowed', async (_, url) => {
    const gateway = await gatewayWith('files: [root.crl], from_certificate: true', '', 1);
    expect(await reasonFor(gateway, await doctorNaming(url('issuing.crl')))).toBe('crl_missing');
    expect(point.requests).toEqual([]);
  });

  it('is not fetched where the configuration does not say so', async () => {
    const gateway = await gatewayWith('files: [root.crl]', 'allow_local: true,', 1);
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('crl_missing');
    expect(point.requests).toEqual([]);
  });

  it('that does not come delays nobody whose answer is known', async () => {
    const gateway = await fromCertificates('timeout: 10s');
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('good');
    const other = await createAuthority({ name: 'Other CA', issuer: pki.root });
    const slow = await issueCertificate(other, { subject: [['CN', 'Dr Slow'], ['OU', 'Doctors']], crlDistributionPoints: [point.url('slow.crl')] });
    point.instead = () => undefined;
    const waiting = ask(pki, gateway.port, '/records', { client: { ...slow, chain: `${slow.chain}${other.certificate}` } });
    waiting.catch(() => undefined);
    const known = await doctorNaming(point.url('issuing.crl'));
    const started = performance.now();
    expect(await reasonFor(gateway, known)).toBe('good');
    expect(performance.now() - started).toBeLessThan(8_000);
  });
});

// Whatever a distribution point does, the worst that comes of it is an unknown status.
describe('a hostile distribution point', () => {
  const served = (bytes: Buffer | string, headers: NodeJS.Dict<string> = {}): DistributionPoint['instead'] => (_, response) => {
    response.writeHead(200, headers).end(bytes);
  };
  const status = (code: number, headers: NodeJS.Dict<string> = {}): DistributionPoint['instead'] => (_, response) => {
    response.writeHead(code, headers).end();
  };
  /** One gateway serves for whatever brings no CRL, each fetched under a name of its own, from a point that is as hostile after the test as in it. */
  let hostile: DistributionPoint;
  let common: TestGateway;
  let lists = 0;

  beforeAll(async () => {
    hostile = await startDistributionPoint();
    common = await startGateway(pki, backend.port, { threads: 1, revocation: '{ sources: [crl], allow_local: true, crl: { files: [root.crl], from_certificate: true, refresh: 1h } }' });
  });

  afterAll(async () => {
    await common.stop();
    await hostile.stop();
  });

  it.each<[string, () => Promise<DistributionPoint['instead']>, RegExp]>([
    ['that sends 10 MB of garbage', async () => served(Buffer.alloc(10 * 1024 * 1024, 0x30)), /der|malformed|crl|neither/i],
    ['that sends a page', async () => served('<html>not found</html>'), /neither DER nor a PEM/],
    ['that sends nothing', async () => served(''), /./],
    ['that sends the CRL of a stranger under our CA\'s name', async () => served(await issueCrl(await createAuthority({ name: [['CN', 'Hospital Issuing CA'], ['O', 'Hospital']] }))), /no known certificate|signature/],
    ['that sends a CRL with a broken signature', async () => served(await crl({ breakSignature: true })), /signature/],
    ['that sends half a CRL', async () => served((await crl()).subarray(0, 150)), /./],
    ['that sends a CRL without nextUpdate', async () => served(await crl({ nextUpdate: null })), /no nextUpdate/],
    ['that sends it compressed', async () => served(gzipSync(await crl()), { 'content-encoding': 'gzip' }), /content-encoding gzip/],
    ['that says 404', async () => status(404), /HTTP status 404/],
    ['that says 304 to who has nothing', async () => status(304), /304/],
    ['that redirects to another host', async () => status(302, { location: 'http://pki.hospital.test/issuing.crl' }), /another host/],
    ['that redirects to this host under another name', async () => status(301, { location: hostile.url('issuing.crl').replace('127.0.0.1', 'localhost') }), /another host/],
    ['that redirects to a file', async () => status(302, { location: 'file:///etc/passwd' }), /another host|file:/],
    ['that redirects in a circle', async () => status(302, { location: '/issuing.crl' }), /too many redirects/],
    ['that hangs up', async () => (request) => request.socket.destroy(), /closed|reset|socket/i],
  ])('%s', async (_, prepare, detail) => {
    const url = hostile.url(`${++lists}.crl`);
    hostile.instead = await prepare();
    expect(await reasonFor(common, await doctorNaming(url))).toBe('crl_missing');
    expect((await sourceOf(common, url))?.last_error?.detail).toMatch(detail);
  });

  it.each([['yesterday\'s', 'crl_expired', { thisUpdate: Date.now() - 2 * 86_400_000, nextUpdate: Date.now() - 86_400_000 }], ['tomorrow\'s', 'crl_missing', { thisUpdate: Date.now() + 86_400_000 }]])(
    'that sends %s CRL', async (_, reason, options) => {
      const gateway = await forOne();
      point.files.set('issuing.crl', await crl({ ...options, revoked: [] }));
      expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe(reason);
    },
  );

  it('that sends more than is allowed', async () => {
    const gateway = await forOne('max_size: 1KiB');
    point.files.set('issuing.crl', Buffer.concat([await crl(), Buffer.alloc(2048)]));
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('crl_missing');
    expect((await sourceOf(gateway, point.url('issuing.crl')))?.last_error?.detail).toMatch(/longer than 1024/);
  });

  it('that sends one byte a second holds its client no longer than crl.timeout', async () => {
    const gateway = await forOne('timeout: 500ms');
    point.instead = (_, response) => {
      response.writeHead(200);
      response.flushHeaders();
      const timer = setInterval(() => response.write('0'), 100);
      response.on('close', () => clearInterval(timer));
    };
    const started = performance.now();
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('crl_missing');
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('that is not HTTP', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('\u0000\u0001 not HTTP\r\n\r\n');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const gateway = await forOne();
    expect(await reasonFor(gateway, await doctorNaming(`http://127.0.0.1:${(server.address() as { port: number }).port}/a.crl`))).toBe('crl_missing');
    server.close();
  });

  it('is left alone for a moment after it failed, whoever asks', async () => {
    const gateway = await fromCertificates('refresh: 1h');
    point.instead = status(500);
    for (let round = 0; round < 5; round++) await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')));
    expect(point.requests).toHaveLength(1);
  });

  it('does not take away what a file says', async () => {
    const gateway = await gatewayWith('files: [issuing.crl, root.crl], from_certificate: true', 'allow_local: true,');
    await writeFile(gateway.path('issuing.crl'), await crl({ number: 9 }));
    point.files.set('issuing.crl', await crl({ number: 3, revoked: [] }));
    await gateway.gateway.reload();
    expect(await reasonFor(gateway, pki.revokedDoctor)).toBe('revoked_crl');
    expect(await reasonFor(gateway, await doctorNaming(point.url('issuing.crl')))).toBe('good');
  });
});
