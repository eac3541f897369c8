import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { openKey } from '../src/config/own-keys.ts';
import { wardgateRun, type RunningCommand } from './support/command.ts';
import { sClient } from './support/openssl.ts';
import { certifyLeaf, createAuthority } from './support/pki.ts';

/** pkcs11-provider, built for Node (deploy/pkcs11/build-provider.sh); Debian 12 has no package of it. */
const provider = process.env['WARDGATE_TEST_PKCS11_PROVIDER'];
const tpmModule = ['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu/pkcs11/libtpm2_pkcs11.so`).find((file) => existsSync(file));
const programs = [['swtpm', 'socket', '--help'], ['tpm2-abrmd', '--version'], ['dbus-daemon', '--version'], ['pkcs11-tool', '--help'], ['tpm2_ptool', '--help']] as const;
const tpm = provider !== undefined && tpmModule !== undefined && programs.every(([program, ...args]) => spawnSync(program, args).error === undefined);
if (!tpm) console.log('skipped: the handshakes of keys-tpm.test.ts need swtpm, tpm2-abrmd, dbus-daemon, libtpm2-pkcs11-1, libtpm2-pkcs11-tools, opensc, and pkcs11-provider in WARDGATE_TEST_PKCS11_PROVIDER');

it('a key for the provider tpm2 is refused, since reloads would run out of the TPM\'s places', () => {
  const opened = openKey(Buffer.from('-----BEGIN TSS2 PRIVATE KEY-----\nMIHwBgZngQUKAQM=\n-----END TSS2 PRIVATE KEY-----\n'), 'server.key', undefined);
  expect(opened).toMatchObject({ kind: 'fault', at: 'file', message: expect.stringMatching(/^"server.key" is a key in a TPM .*expected pkcs11:token=NAME;object=LABEL/) });
});

describe.skipIf(!tpm)('keys that never leave a TPM 2.0 (swtpm)', () => {
  const started: ChildProcess[] = [];
  let directory: string;
  let env: Record<string, string>;
  let manager: ChildProcess;
  let gateway: RunningCommand;
  let running = false;
  const path = (name: string): string => join(directory, name);
  const start = (program: string, args: readonly string[]): ChildProcess => {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
    started.push(child);
    return child;
  };
  const tool = (...args: readonly string[]): number | null => spawnSync('pkcs11-tool', ['--module', tpmModule ?? '', ...args], { env: { ...process.env, ...env }, timeout: 10_000 }).status;

  const ptool = (...args: readonly string[]): void => {
    const { status, stderr } = spawnSync('tpm2_ptool', [...args, '--path', path('store')], { env: { ...process.env, ...env }, timeout: 10_000, encoding: 'utf8' });
    if (status !== 0) throw new Error(`tpm2_ptool ${args[0]}: ${stderr}`);
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'wardgate-tpm-'));
    for (const name of ['state', 'store']) await mkdir(path(name));
    const port = await freePorts();
    env = { DBUS_SESSION_BUS_ADDRESS: `unix:path=${path('bus')}`, TPM2_PKCS11_TCTI: 'tabrmd:bus_type=session', TPM2TOOLS_TCTI: 'tabrmd:bus_type=session', TPM2_PKCS11_STORE: path('store'), TSS2_LOG: 'all+none' };
    start('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${path('state')}`, '--server', `type=tcp,port=${port},bindaddr=127.0.0.1`, '--ctrl', `type=tcp,port=${port + 1},bindaddr=127.0.0.1`, '--pid', `file=${path('swtpm.pid')}`, '--flags', 'not-need-init,startup-clear']);
    start('dbus-daemon', ['--session', '--nofork', `--address=${env['DBUS_SESSION_BUS_ADDRESS']}`]);
    await vi.waitFor(() => expect(['bus', 'swtpm.pid'].every((name) => existsSync(path(name)))).toBe(true), 10_000);
    // A TPM has places for three keys; what shares them out is the kernel for a real one.
    manager = start('tpm2-abrmd', ['--session', ...(process.geteuid?.() === 0 ? ['--allow-root'] : []), '--flush-all', `--tcti=swtpm:host=127.0.0.1,port=${port}`]);
    await vi.waitFor(() => expect(tool('--list-slots')).toBe(0), 10_000);
    // Made by pkcs11-tool, a token has no RSA with PSS.
    ptool('init');
    ptool('addtoken', '--pid', '1', '--sopin', '5678', '--userpin', '1234', '--label', 'hospital');
    const root = await createAuthority({ name: 'Hospital Root' });
    await writeFile(path('root.pem'), root.certificate);
    for (const [name, algorithm] of [['ec', 'ecc256'], ['rsa', 'rsa2048']] as const) {
      ptool('addkey', '--algorithm', algorithm, '--label', 'hospital', '--userpin', '1234', '--key-label', name);
      expect(tool('--token-label', 'hospital', '--login', '--pin', '1234', '--read-object', '--type', 'pubkey', '--label', name, '-o', path(`${name}.spki`))).toBe(0);
      const certified = await certifyLeaf(root, createPublicKey({ key: await readFile(path(`${name}.spki`)), format: 'der', type: 'spki' }), { subject: [['CN', 'localhost']], san: { dns: 'localhost' }, eku: ['serverAuth'] });
      await writeFile(path(`${name}.pem`), certified.certificate);
    }
    await writeFile(path('pin'), '1234\n');
    await chmod(path('pin'), 0o600);
    const example = await readFile(new URL('../deploy/pkcs11/openssl-tpm.cnf', import.meta.url), 'utf8');
    await writeFile(path('openssl.cnf'), example
      .replace(/^module = .*$/m, `module = ${provider ?? ''}`)
      .replace(/^pkcs11-module-path = .*$/m, `pkcs11-module-path = ${tpmModule ?? ''}`)
      .replace(/^pkcs11-module-token-pin = .*$/m, `pkcs11-module-token-pin = file:${path('pin')}`));
    await writeFile(path('wardgate.yaml'), `threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: ec.pem, key: "pkcs11:token=hospital;object=ec" }
        - { certificate: rsa.pem, key: "pkcs11:token=hospital;object=rsa" }
    client_auth: { trust: root.pem, mode: optional }
`);
    gateway = await wardgateRun(path('wardgate.yaml'), env, [], ['--openssl-config', path('openssl.cnf')]);
    running = true;
  }, 30_000);

  afterAll(async () => {
    const code = running ? await gateway.stop() : undefined;
    for (const child of started) child.kill();
    await rm(directory, { recursive: true, force: true });
    expect(code).toBe(0);
  });

  it.each([['ECDSA+SHA256', 'ECDSA'], ['RSA-PSS+SHA256', 'RSA-PSS']])('serve handshakes by %s that openssl verifies', async (sigalgs, type) => {
    for (const version of ['-tls1_3', '-tls1_2']) {
      const { output } = await sClient(gateway.port, [version, '-sigalgs', sigalgs, '-CAfile', path('root.pem'), '-verify_return_error', '-servername', 'localhost'], 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      expect(output).toContain(`Peer signature type: ${type}`);
      expect(output).toContain('Verification: OK');
    }
  });

  it('serve all threads at once, across reloads', async () => {
    for (let round = 1; round <= 3; round++) {
      process.kill(gateway.pid, 'SIGHUP');
      const all = Array.from({ length: 20 }, (_, index) => handshake(gateway.port, index % 2 === 0 ? 'ecdsa_secp256r1_sha256' : 'rsa_pss_rsae_sha256'));
      expect(new Set(await Promise.all(all))).toEqual(new Set(['TLSv1.3']));
      await expect.poll(() => gateway.stderr().split('"configuration reloaded"').length - 1).toBe(round);
    }
  });

  it('fail handshakes when the TPM is gone, and neither that nor a reload ends the gateway', async () => {
    const gone = new Promise((done) => manager.once('exit', done));
    manager.kill();
    await gone;
    expect(await handshake(gateway.port, 'ecdsa_secp256r1_sha256')).toBe('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR');
    process.kill(gateway.pid, 'SIGHUP');
    await expect.poll(() => gateway.stderr()).toMatch(/its token does not sign with it as TLS needs.*"the configuration was not reloaded; the old one serves on"/);
    expect(await handshake(gateway.port, 'rsa_pss_rsae_sha256')).toBe('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR');
  });

  /** A port that is free, and the one after it, at which swtpm is governed. */
  async function freePorts(): Promise<number> {
    for (;;) {
      const first = createServer();
      const second = createServer();
      await new Promise<void>((done) => first.listen(0, '127.0.0.1', done));
      const { port } = first.address() as AddressInfo;
      const both = await new Promise<boolean>((done) => second.once('error', () => done(false)).listen(port + 1, '127.0.0.1', () => done(true)));
      await new Promise((done) => first.close(done));
      if (!both) continue;
      await new Promise((done) => second.close(done));
      return port;
    }
  }

  /** The protocol of the connection, or the code of what it failed with. */
  async function handshake(port: number, sigalgs: string): Promise<string | null | undefined> {
    const ca = await readFile(path('root.pem'));
    return new Promise((done) => {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, sigalgs }, () => {
        done(socket.getProtocol());
        socket.destroy();
      });
      socket.on('error', (error: NodeJS.ErrnoException) => done(error.code));
    });
  }
});
