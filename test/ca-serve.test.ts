import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate, wardgateProcess } from './support/command.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const run = promisify(execFile);

let pki: TestPki;
let ca: TestCa;
let stop: () => Promise<number | null>;
let ports: Readonly<Record<string, number>>;

/** Starts `wardgate ca serve` as a process and waits until it says where it listens. */
function serve(args: readonly string[]): Promise<{ readonly ports: Readonly<Record<string, number>>; stop(): Promise<number | null> }> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [MAIN, 'ca', 'serve', ...args], { env: { PATH: process.env['PATH'] }, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    let [out, err] = ['', ''];
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      const pid = /^pid (\d+)$/m.exec(out)?.[1];
      const found = Object.fromEntries([...out.matchAll(/^listening (\S+) \S+:(\d+)$/gm)].map(([, name = '', port]) => [name, Number(port)]));
      if (pid === undefined || found['est'] === undefined) return;
      done({
        ports: found,
        stop() {
          process.kill(Number(pid), 'SIGTERM');
          return ended;
        },
      });
    });
    void ended.then((code) => failed(new Error(`wardgate ca serve ended with ${code}: ${err}`)));
  });
}

beforeAll(async () => {
  let clock = Date.now() - 70 * 86_400_000;
  pki = await testPki();
  ca = await testCa(['Kiosk 7'], { now: () => clock, validity: 90 * 86_400_000 });
  clock = Date.now();
  const own = ca.first.get('localhost');
  await ca.write('ca.pass', `${ca.passphrase}\n`);
  await ca.write('est.pem', own?.entry.chain as string);
  await ca.write('est.key', own?.key as string);
  await ca.write('backend-ca.pem', pki.backendCa.certificate);
  await ca.write('issuing.pem', ca.office.issuer().certificate);
  await ca.write('root.pem', ca.office.root);
  await ca.write('kiosk.pem', ca.first.get('Kiosk 7')?.entry.chain as string);
  await ca.write('kiosk.key', ca.first.get('Kiosk 7')?.key as string);
  const serving = await serve([
    '--dir', ca.directory, '--passphrase-command', `cat ${ca.path('ca.pass')}`, '--listen', '127.0.0.1:0', '--est', '127.0.0.1:0', '--est-cert', ca.path('est.pem'), '--est-key', ca.path('est.key'),
    '--est-trust', ca.path('backend-ca.pem'), '--est-gateway', 'gateway.internal',
  ]);
  ({ ports, stop } = serving);
});
afterAll(() => ca.remove());

describe('wardgate ca serve, as a process', () => {
  test('answers OpenSSL', async () => {
    const { stdout, stderr } = await run('openssl', ['ocsp', '-url', `http://127.0.0.1:${ports['publish']}/ocsp`, '-issuer', ca.path('issuing.pem'), '-CAfile', ca.path('root.pem'), '-verify_other', ca.path('issuing.pem'), '-cert', ca.path('kiosk.pem')]);
    expect(stdout + stderr).toContain('Response verify OK');
    expect(stdout).toContain('kiosk.pem: good');
  });

  test('is where a device renews, through a gateway, as a process of its own', async () => {
    let gateway: TestGateway | undefined;
    try {
      gateway = await startGateway(pki, 9, {
        threads: 1, routes: '\n  - { name: est, match: { path: /.well-known/est/* }, allow: [device], upstream: ca, limits: { body: 64KiB, rate: [20/hour] } }',
        clientAuth: '{ mode: required, trust: [ca-root.pem], intermediates: [ca-issuing.pem] }',
        revocation: `{ check: leaf, sources: [ocsp], ocsp: { responder: "http://127.0.0.1:${ports['publish']}/ocsp" } }`,
        upstreams: `
  ca:
    endpoints: ["https://127.0.0.1:${ports['est']}"]
    tls: { trust: ca-root.pem, certificate: gateway.pem, key: gateway.key, server_name: localhost }`,
        files: { 'ca-root.pem': ca.office.root, 'ca-issuing.pem': ca.office.issuer().certificate },
      });
      const { code, stdout, stderr } = await wardgateProcess(['renew', '--est', `https://localhost:${gateway.port}/.well-known/est/kiosks/`, '--cert', ca.path('kiosk.pem'), '--key', ca.path('kiosk.key'), '--trust', gateway.path('root.pem'), '--now', '--overlap', '0s']);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/^CN=Kiosk 7,OU=Devices,O=Hospital: renewed, serial [0-9a-f]+ \(before: [0-9a-f]+\), valid until 20/);
      expect(ca.office.entry(ca.first.get('Kiosk 7')?.entry.serial as string).state).toBe('superseded');
    } finally {
      await gateway?.stop();
    }
  });

  test('ends on SIGTERM with status 0', async () => {
    expect(await stop()).toBe(0);
  });

  test('does not start without the passphrase, with another, or where gateways are not named', async () => {
    const at = ['--dir', ca.directory, '--listen', '127.0.0.1:0'];
    expect(await wardgate(['ca', 'serve', ...at])).toMatchObject({ code: 1, stderr: expect.stringContaining('give its passphrase') });
    writeFileSync(ca.path('other.pass'), 'another passphrase altogether\n', { mode: 0o600 });
    expect(await wardgate(['ca', 'serve', ...at, '--passphrase-file', ca.path('other.pass')])).toMatchObject({ code: 1, stderr: expect.stringContaining('the passphrase does not open it') });
    expect(await wardgate(['ca', 'serve', ...at, '--est', '127.0.0.1:0', '--est-cert', ca.path('est.pem')])).toMatchObject({ code: 2, stderr: expect.stringContaining('speak for any device') });
  });
});

test('the units that ship name options that the commands have', async () => {
  const units = join(import.meta.dirname, '../deploy/systemd');
  for (const name of readdirSync(units).filter((one) => /^wardgate-(ca|renew)\.service$/.test(one))) {
    const [, command = ''] = /^ExecStart=\/usr\/local\/bin\/wardgate ((?:.*\\\n)*.*)$/m.exec(readFileSync(join(units, name), 'utf8')) ?? [];
    const words = command.split(/\s+/);
    const { stdout } = await wardgate([...words.slice(0, words.findIndex((word) => word.startsWith('--'))), '--help']);
    const options = [...command.matchAll(/ (--[a-z-]+)/g)].map(([, option = '']) => option);
    expect(options.length, name).toBeGreaterThan(4);
    expect(options.filter((option) => !stdout.includes(option)), name).toEqual([]);
  }
});
