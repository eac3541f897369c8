import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { check } from '../src/cli/check.ts';
import { explain } from '../src/cli/explain.ts';
import { status } from '../src/cli/status.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { startDistributionPoint, type DistributionPoint } from './support/distribution.ts';
import { ask, configuration, gatewayDirectory } from './support/gateway.ts';
import { issueCrl, testPki, writeLeaf, type TestPki } from './support/pki.ts';

const HOUR = 3_600_000;

let pki: TestPki;
let backend: Backend;
let directory: string;
let gateway: Gateway | undefined;
let point: DistributionPoint;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

beforeEach(async () => {
  directory = await gatewayDirectory(pki);
  point = await startDistributionPoint({ 'issuing.crl': await issueCrl(pki.issuing, { revoked: [{ serial: pki.revokedDoctor.serialHex }] }) });
});

afterEach(async () => {
  await gateway?.stop(0);
  gateway = undefined;
  await point.stop();
  await rm(directory, { recursive: true, force: true });
});

const file = (name: string): string => join(directory, name);

async function configure(revocation: string): Promise<string> {
  await writeFile(file('wardgate.yaml'), configuration(backend.port, { revocation, top: 'metrics: { address: 127.0.0.1:0 }' }));
  return file('wardgate.yaml');
}

async function printed(run: (print: (text: string) => void) => Promise<unknown>): Promise<string> {
  const texts: string[] = [];
  await run((text) => texts.push(text));
  return texts.join('\n');
}

describe('a CRL that ends soon', () => {
  beforeEach(async () => {
    await writeFile(file('issuing.crl'), await issueCrl(pki.issuing, { thisUpdate: Date.now() - 20 * HOUR, nextUpdate: Date.now() + 2 * HOUR }));
  });

  it('is warned of in the log, once, and once for each that follows it', async () => {
    const warnings: string[] = [];
    const log = { info: () => undefined, error: () => undefined, warn: (_: object, message: string) => void warnings.push(message) };
    gateway = await createGateway({ config: await configure('{ sources: [crl], crl: { files: [issuing.crl, root.crl] } }'), log });
    const about = (): string[] => warnings.filter((text) => text.includes('expires'));
    expect(about()).toEqual([expect.stringMatching(/^the CRL of CN=Hospital Issuing CA,O=Hospital expires 20.* and there is no newer one$/)]);
    await gateway.reload();
    expect(about()).toHaveLength(1);
    await writeFile(file('issuing.crl'), await issueCrl(pki.issuing, { number: 2, thisUpdate: Date.now() - 20 * HOUR, nextUpdate: Date.now() + HOUR }));
    await gateway.reload();
    expect(about()).toHaveLength(2);
  });

  it('is warned of by check, at the line that names its file', async () => {
    const config = await configure('{ sources: [crl], crl: { files: [issuing.crl, root.crl] } }');
    const text = await printed((print) => check({ config }, { write: print }));
    expect(text).toMatch(/wardgate\.yaml:\d+:\d+: revocation\.crl\.files\[0\]: warning: the CRL of CN=Hospital Issuing CA,O=Hospital expires/);
    expect(text).toContain('configuration is good');
    expect(text.match(/warning/g)).toHaveLength(1);
  });
});

describe('the freshness of each source', () => {
  it('stands in the status, of a source that fails as of one that does not', async () => {
    const config = await configure(`{ sources: [crl, ocsp], crl: { files: [root.crl], urls: [${point.url('issuing.crl')}, ${point.url('nothing.crl')}], timeout: 20s }, ocsp: { responder: "${point.url('ocsp')}", timeout: 20s } }`);
    gateway = await createGateway({ config });
    const other = await pki.issueClient({ subject: [['CN', 'Dr Other'], ['OU', 'Doctors']] });
    expect((await ask(pki, gateway.listeners[0]!.port, '/records', { client: other })).status).toBe(200);
    await expect.poll(async () => (await gateway!.status()).crls.sources.map(({ last_error }) => last_error?.detail)).toEqual([undefined, undefined, 'HTTP status 404']);
    const text = await printed((print) => status({ config }, print));
    expect(text).toMatch(/^source +root\.crl: 0 entries, this update 20\S+, next update 20\S+$/m);
    expect(text).toMatch(/^source +http:\S+issuing\.crl: 1 entry, this update 20\S+, next update 20\S+, last success 20\S+$/m);
    expect(text).toMatch(/^source +http:\S+nothing\.crl: 0 entries, last error 20\S+: HTTP status 404$/m);
  });

  it('stands in the status for responders, too', async () => {
    const config = await configure(`{ check: leaf, sources: [ocsp], ocsp: { responder: "${point.url('ocsp')}" } }`);
    gateway = await createGateway({ config });
    expect((await ask(pki, gateway.listeners[0]!.port, '/records', { client: pki.doctor })).status).toBe(403);
    const { ocsp } = await gateway.status();
    expect(ocsp).toMatchObject({ responders: [{ responder: point.url('ocsp'), last_error: { detail: 'HTTP status 404' } }] });
  });

  it('stands in the metrics', async () => {
    gateway = await createGateway({ config: await configure(`{ sources: [crl], crl: { files: [root.crl], urls: [${point.url('issuing.crl')}] } }`) });
    expect((await ask(pki, gateway.listeners[0]!.port, '/records', { client: pki.doctor })).status).toBe(200);
    const text = await (await fetch(`http://127.0.0.1:${gateway.metrics!.port}/metrics`)).text();
    expect(text).toContain('wardgate_crl_entries{issuer="CN=Hospital Issuing CA,O=Hospital"} 1');
    expect(text).toMatch(/wardgate_crl_next_update_timestamp_seconds\{issuer="CN=Hospital Issuing CA,O=Hospital"\} \d{10}/);
    expect(text).toMatch(/wardgate_revocation_checks_total\{source="crl",result="good"\} \d+/);
    expect(text).toMatch(/wardgate_ocsp_cache_entries 0/);
  });
});

describe('explain', () => {
  it('follows the distribution point as the gateway does, and leaves nothing in its state', async () => {
    const doctor = await pki.issueClient({ subject: [['CN', 'Dr Named'], ['OU', 'Doctors']], crlDistributionPoints: [point.url('issuing.crl')] });
    await Promise.all(writeLeaf(file('named'), doctor));
    const config = await configure('{ sources: [crl], allow_local: true, crl: { files: [root.crl], from_certificate: true } }');
    const text = await printed((print) => explain({ config, cert: file('named.pem'), address: '127.0.0.1' }, print));
    expect(text).toMatch(/crl .*good: serial \S+ is not on the CRL/);
    expect(text).toMatch(/admitted$/);
    const again = await printed((print) => explain({ config, cert: file('named.pem'), address: '127.0.0.1' }, print));
    expect(again).toMatch(/admitted$/);
    expect(point.requests.filter(({ url }) => url === '/issuing.crl').map((request) => request.status)).toEqual([200, 200]);
  });

  it('denies without a request, too, when the status is unknown and no route makes an exception of that', async () => {
    const asked = async (unavailable: string): Promise<string> => {
      const config = await configure(`{ sources: [crl], unavailable: ${unavailable}, crl: { files: [root.crl] } }`);
      return printed((print) => explain({ config, cert: file('doctor.pem'), address: '127.0.0.1' }, print));
    };
    expect(await asked('deny')).toMatch(/deny {2}status {7}crl_missing: .*\ndenied: crl_missing$/);
    expect(await asked('allow')).toMatch(/admitted$/);
  });
});
