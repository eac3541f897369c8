import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, writeLeaf, type Issued, type TestPki } from './support/pki.ts';
import { freePort, untilListening } from './support/programs.ts';

const haproxy = spawnSync('haproxy', ['-v']).error === undefined;
const nginx = spawnSync('sh', ['-c', 'nginx -v && test -e /usr/share/nginx/modules/ngx_http_js_module.so']).status === 0;
if (!haproxy) console.log('skipped: parts of forwarded-fronts.test.ts need haproxy');
if (!nginx) console.log('skipped: parts of forwarded-fronts.test.ts need nginx with its module for njs');

const ROUTES = `
  - { name: public, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient], upstream: records }`;

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let front: Issued;

beforeAll(async () => {
  pki = await testPki();
  front = await pki.issueClient({ subject: [['CN', 'Front']], san: { dns: 'tlcp-front.hospital.test' } });
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, {
    threads: 1, routes: ROUTES,
    clientAuth: '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], forwarded: { by: { trust: [issuing.pem], san: { dns: tlcp-front.hospital.test } } } }',
  });
  await writeLeaf(gateway.path('front'), front);
  for (const [name, leaf] of [['server-both', pki.serverEc], ['front-both', front]] as const) await writeFile(gateway.path(`${name}.pem`), leaf.chain + leaf.key, { mode: 0o600 });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** An example that ships, with this machine's addresses and files in place of its own. */
function example(name: string, files: Readonly<Record<string, string>>, port: number): string {
  let text = readFileSync(join(import.meta.dirname, '../deploy/examples', name), 'utf8');
  for (const [file, ours] of Object.entries(files)) text = text.replaceAll(file, ours);
  // The second gateway is left out: which of them answers is not what is tried here.
  text = text.replace('10.1.0.10:443', `127.0.0.1:${port}`).replace('10.1.0.11:8443', `127.0.0.1:${gateway.port}`).replace(/^ *server .*10\.1\.0\.12:8443.*\n/m, '').replace(/check port 9100.*rise 2 /, '').replaceAll('api.hospital.test', 'localhost');
  expect(text).not.toMatch(/^[^#\n]*(?:10\.1\.0\.|\/etc\/)/m);
  return text;
}

const FRONTS = [
  {
    name: 'HAProxy', installed: haproxy,
    async start(port: number): Promise<ChildProcess> {
      const file = gateway.path('haproxy.cfg');
      await writeFile(file, example('haproxy-front.cfg', {
        '/etc/haproxy/server.pem': gateway.path('server-both.pem'), '/etc/haproxy/front.pem': gateway.path('front-both.pem'),
        '/etc/haproxy/clients-ca.pem': gateway.path('root.pem'), '/etc/haproxy/gateways-ca.pem': gateway.path('root.pem'),
      }, port));
      return spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
    },
  },
  {
    name: 'nginx', installed: nginx,
    async start(port: number): Promise<ChildProcess> {
      const file = gateway.path('nginx.conf');
      await mkdir(gateway.path('tmp'));
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${gateway.path(`tmp/${name}`)};`).join(' ');
      const text = example('nginx-front.conf', {
        '/etc/nginx/nginx-front.js': join(import.meta.dirname, '../deploy/examples/nginx-front.js'), '/etc/nginx/server': gateway.path('server-ec'),
        '/etc/nginx/front': gateway.path('front'), '/etc/nginx/clients-ca.pem': gateway.path('root.pem'), '/etc/nginx/gateways-ca.pem': gateway.path('root.pem'),
      }, port).replace('http {', `http {\n    access_log off; ${temporary}`).replace('modules/ngx_http_js_module.so', '/usr/share/nginx/modules/ngx_http_js_module.so');
      await writeFile(file, `daemon off;\npid ${gateway.path('nginx.pid')};\nerror_log ${gateway.path('nginx.log')};\n${text}`);
      return spawn('nginx', ['-e', gateway.path('nginx.log'), '-c', file, '-p', gateway.directory], { stdio: 'ignore' });
    },
  },
] as const;

for (const { name, installed, start } of FRONTS) {
  describe.skipIf(!installed)(`${name} in front, with the example that ships`, () => {
    let port: number;
    let running: ChildProcess;

    beforeAll(async () => {
      port = await freePort();
      running = await start(port);
      running.on('error', () => undefined);
      await untilListening(port, running);
    });

    afterAll(async () => {
      running.kill('SIGTERM');
      if (running.exitCode === null) await once(running, 'exit');
    });

    const lastRecord = async (path: string) => (await gateway.records()).filter((record) => record['path'] === path).at(-1);
    const status = async (path: string, options: object): Promise<number> => (await ask(pki, port, path, options)).status;
    const field = ({ certificate }: Issued): string => `:${certificate.replace(/-----[A-Z ]+-----|\s/g, '')}:`;

    it('names each client by the certificate that it has shown, a refused one among them', async () => {
      const path = `/echo/${name}`;
      expect(await status(path, { client: pki.patient })).toBe(200);
      expect(await lastRecord(path)).toMatchObject({ result: 'permitted', fingerprint: pki.patient.sha256, id: 'urn:patient:1001', forwarded_by: front.sha256 });
      expect(backend.seen.at(-1)?.headers).toMatchObject({ 'x-client-id': 'urn:patient:1001', 'client-cert': field(pki.patient) });
      expect(await status(path, { client: pki.doctor })).toBe(200);
      expect(await status(path, { client: pki.revokedDoctor })).toBe(403);
      expect(await lastRecord(path)).toMatchObject({ reason: 'revoked_crl', fingerprint: pki.revokedDoctor.sha256, forwarded_by: front.sha256 });
      expect([await status(path, {}), await status('/public/x', {})]).toEqual([401, 200]);
    });

    it('names one whose certificate is long', async () => {
      const client = await pki.issueClient({ subject: [['CN', 'Patient 2'], ['OU', 'Patients']], san: { uri: 'urn:patient:2', dns: Array.from({ length: 150 }, (_, number) => `name-${number}.of-a-long-list.hospital.test`) } });
      expect(field(client).length).toBeGreaterThan(8_000);
      expect(await status('/echo/long', { client })).toBe(200);
      expect(await lastRecord('/echo/long')).toMatchObject({ fingerprint: client.sha256, forwarded_by: front.sha256 });
    });

    it.each(['Client-Cert', 'client_cert', 'X-Client-Cert', 'SSL-Client-Cert', 'X_SSL_Client_Cert', 'Client-Cert-Chain'])('passes on nothing that the client itself says under %s', async (header) => {
      const headers = { [header]: field(pki.doctor) };
      expect([await status('/echo/said', { headers }), await status('/echo/said', { headers, client: pki.patient })]).toEqual([401, 200]);
      expect(await lastRecord('/echo/said')).toMatchObject({ id: 'urn:patient:1001' });
    });

    it.each(['TLSv1.2', 'TLSv1.3'] as const)('names the client in a resumed session of %s, too', async (version) => {
      const options = { client: pki.patient, minVersion: version, maxVersion: version };
      const asked = (socket: TLSSocket): Promise<string> => exchange(socket, `GET /echo/${version} HTTP/1.1\r\nHost: localhost\r\n\r\n`, (text) => text.endsWith('hello'));
      const first = await openTls(pki, port, options);
      // With TLS 1.3 the ticket comes behind the handshake.
      const session = version === 'TLSv1.2' ? first.getSession() : new Promise<Buffer>((done) => first.once('session', done));
      expect(await asked(first)).toMatch(/^HTTP\/1\.1 200 /);
      const again = await openTls(pki, port, { ...options, session: await session });
      expect(again.isSessionReused()).toBe(true);
      expect(await asked(again)).toMatch(/^HTTP\/1\.1 200 /);
      expect(await lastRecord(`/echo/${version}`)).toMatchObject({ id: 'urn:patient:1001', forwarded_by: front.sha256 });
      first.destroy();
      again.destroy();
    });
  });
}
