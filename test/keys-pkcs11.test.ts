import { execFileSync, spawnSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { fromBER, type Sequence, type VisibleString } from 'asn1js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gather } from '../src/backup/gather.ts';
import { fileReferences } from '../src/config/file-references.ts';
import { openKey } from '../src/config/own-keys.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { readTokenUri } from '../src/config/token-keys.ts';
import { wardgateProcess, wardgateRun } from './support/command.ts';
import { sClient } from './support/openssl.ts';
import { certifyLeaf, createAuthority, type Authority } from './support/pki.ts';

/** pkcs11-provider, built for Node (deploy/pkcs11/build-provider.sh); Debian 12 has no package of it. */
const provider = process.env['WARDGATE_TEST_PKCS11_PROVIDER'];
const softhsm = '/usr/lib/softhsm/libsofthsm2.so';
const tokens = provider !== undefined && existsSync(softhsm) && spawnSync('pkcs11-tool', ['--help']).error === undefined;
if (!tokens) console.log('skipped: the handshakes of keys-pkcs11.test.ts need softhsm2, opensc, and pkcs11-provider in WARDGATE_TEST_PKCS11_PROVIDER');

let directory: string;
let root: Authority;
const path = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'wardgate-pkcs11-'));
  root = await createAuthority({ name: 'Hospital Root' });
  await writeFile(path('root.pem'), root.certificate);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe('the URI of a key in a token', () => {
  it('becomes what pkcs11-provider takes in place of a key', () => {
    const read = readTokenUri('pkcs11:token=wardgate;object=gateway?pin-source=file:/etc/wardgate/pin');
    if (read.kind === 'fault') throw new Error(read.message);
    expect(read.pinFile).toBe('/etc/wardgate/pin');
    const { result } = fromBER(new Uint8Array(Buffer.from(read.pem.replace(/-----.*-----|\n/g, ''), 'base64')).buffer);
    expect((result as Sequence).valueBlock.value.map((text) => [text.idBlock.tagNumber, (text as VisibleString).getValue()])).toEqual([
      [26, 'PKCS#11 Provider URI v1.0'], [12, 'pkcs11:token=wardgate;object=gateway;type=private?pin-source=file:/etc/wardgate/pin'],
    ]);
  });

  it.each([
    ['pkcs11:token=a;object=b?pin-value=1234', 'holds a PIN'],
    ['pkcs11:token=a', 'names no key'],
    ['pkcs11:object=a;type=public', 'names no private key'],
    ['pkcs11:object=a?pin-source=|/bin/pin', 'has a PIN that does not come from a file'],
    ['pkcs11:object=a?module-path=/tmp/x.so', 'has an attribute "module-path"'],
    ['pkcs11:object', 'is no PKCS#11 URI'],
  ])('%s is refused, and no PIN is shown', (uri, message) => {
    const read = readTokenUri(uri);
    expect(read).toMatchObject({ kind: 'fault', message: expect.stringContaining(message) });
    expect(JSON.stringify(read)).not.toContain('1234');
  });

  it('says without a provider what loads one', () => {
    const read = readTokenUri('pkcs11:token=none;object=none');
    const opened = openKey(Buffer.from(read.kind === 'ok' ? read.pem : ''), 'pkcs11:token=none;object=none', undefined);
    expect(opened).toMatchObject({ kind: 'fault', message: '"pkcs11:token=none;object=none" cannot be had: wardgate --openssl-config FILE loads the provider that has it (docs/keys.md)' });
  });

  it('its PIN\'s file is protected like a key', async () => {
    await writeFile(path('pin'), '1234\n');
    await chmod(path('pin'), 0o644);
    await writeFile(path('pin.yaml'), `listeners:\n  - { name: a, address: "127.0.0.1:0", tls: { certificates: [{ certificate: root.pem, key: "pkcs11:object=a?pin-source=file:${path('pin')}" }] }, client_auth: { trust: root.pem } }\n`);
    const result = await loadSnapshot(path('pin.yaml'), { now: Date.now() });
    expect(result.kind === 'invalid' ? result.issues.map(({ message }) => message) : []).toContainEqual(expect.stringMatching(/pin" is open to others \(mode 0644\)|…" is open to others \(mode 0644\)/));
  });
});

describe('a key in a token', () => {
  it('is no file to those who look for the files of a configuration; its PIN\'s is one', () => {
    const references = fileReferences({ tracing: { certificate: 'own.pem', key: 'pkcs11:object=a?pin-source=file:/etc/pin' } });
    expect(references.map(({ use, name }) => [use, name])).toEqual([['client-certificate', 'own.pem'], ['token-key', 'pkcs11:object=a?pin-source=file:/etc/pin'], ['token-pin', '/etc/pin']]);
  });

  it('is left out of a backup, which holds everything else that the configuration names', async () => {
    await writeFile(path('pin'), '1234\n');
    await writeFile(path('backup.yaml'), `state: ./state\nlisteners:\n  - { name: a, address: "127.0.0.1:0", tls: { certificates: [{ certificate: root.pem, key: "pkcs11:object=a?pin-source=file:${path('pin')}" }] }, client_auth: { trust: root.pem } }\n`);
    const members = [...gather({ config: path('backup.yaml'), also: [], audit: false, now: Date.now(), host: 'a', version: '1' }).members].map(({ name }) => name);
    for (const name of ['backup.yaml', 'pin', 'root.pem']) expect(members).toContainEqual(expect.stringMatching(new RegExp(`/${name}$`)));
    expect(members.filter((name) => name.includes('pkcs11:'))).toEqual([]);
  });
});

describe('--openssl-config', () => {
  it('that others can write is refused: it says which code the process loads', async () => {
    await writeFile(path('open.cnf'), '');
    await chmod(path('open.cnf'), 0o666);
    const { code, stderr } = await wardgateProcess(['--openssl-config', path('open.cnf'), '--version']);
    expect({ code, stderr }).toEqual({ code: 2, stderr: `wardgate: ${path('open.cnf')} can be written by others than its owner; chmod 644\n` });
  });
});

describe.skipIf(!tokens)('keys that never leave their token (SoftHSM)', () => {
  const env = (): Record<string, string> => ({ SOFTHSM2_CONF: path('softhsm2.conf') });
  const run = (program: string, args: readonly string[]): void => void execFileSync(program, args, { env: { ...process.env, ...env() }, stdio: ['ignore', 'ignore', 'pipe'] });

  beforeAll(async () => {
    await mkdir(path('tokens'));
    await writeFile(path('softhsm2.conf'), `directories.tokendir = ${path('tokens')}\nobjectstore.backend = file\n`);
    await writeFile(path('pin'), '1234\n', { mode: 0o600 });
    await chmod(path('pin'), 0o600);
    run('softhsm2-util', ['--init-token', '--free', '--label', 'wardgate', '--pin', '1234', '--so-pin', '5678']);
    for (const [name, type, id] of [['ec', 'EC:prime256v1', '01'], ['rsa', 'rsa:2048', '02']] as const) {
      const token = ['--module', softhsm, '--token-label', 'wardgate', '--login', '--pin', '1234'];
      run('pkcs11-tool', [...token, '--keypairgen', '--key-type', type, '--label', name, '--id', id, '--usage-sign']);
      run('pkcs11-tool', [...token, '--read-object', '--type', 'pubkey', '--label', name, '-o', path(`${name}.spki`)]);
      const certified = await certifyLeaf(root, createPublicKey({ key: await readFile(path(`${name}.spki`)), format: 'der', type: 'spki' }), { subject: [['CN', 'localhost']], san: { dns: 'localhost' }, eku: ['serverAuth'] });
      await writeFile(path(`${name}.pem`), certified.certificate);
    }
    await writeFile(path('openssl.cnf'), `nodejs_conf = init
[init]
providers = providers
[providers]
default = default_provider
pkcs11 = pkcs11_provider
[default_provider]
activate = 1
[pkcs11_provider]
module = ${provider ?? ''}
pkcs11-module-path = ${softhsm}
pkcs11-module-token-pin = file:${path('pin')}
pkcs11-module-quirks = no-deinit
activate = 1
`);
    await writeFile(path('wardgate.yaml'), `threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: ec.pem, key: "pkcs11:token=wardgate;object=ec" }
        - { certificate: rsa.pem, key: "pkcs11:token=wardgate;object=rsa?pin-source=file:${path('pin')}" }
    client_auth: { trust: root.pem, mode: optional }
`);
  });

  it('are found by check', async () => {
    const { code, stdout } = await wardgateProcess(['--openssl-config', path('openssl.cnf'), 'check', '-c', path('wardgate.yaml')], env());
    expect(stdout).toContain('configuration is good');
    expect(code).toBe(0);
  });

  it('serve handshakes on all threads at once, by ECDSA and RSA, across reloads', async () => {
    const gateway = await wardgateRun(path('wardgate.yaml'), env(), [], ['--openssl-config', path('openssl.cnf')]);
    try {
      for (const [sigalgs, type] of [['ECDSA+SHA256', 'ECDSA'], ['RSA-PSS+SHA256', 'RSA-PSS']] as const) {
        const { output } = await sClient(gateway.port, ['-sigalgs', sigalgs, '-CAfile', path('root.pem'), '-verify_return_error', '-servername', 'localhost'], 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
        expect(output).toContain(`Peer signature type: ${type}`);
        expect(output).toContain('Verification: OK');
      }
      for (let round = 0; round < 4; round++) {
        process.kill(gateway.pid, 'SIGHUP');
        const all = Array.from({ length: 40 }, (_, index) => handshake(gateway.port, index % 2 === 0 ? 'ecdsa_secp256r1_sha256' : 'rsa_pss_rsae_sha256'));
        expect(new Set(await Promise.all(all))).toEqual(new Set(['TLSv1.3']));
      }
    } finally {
      expect(await gateway.stop()).toBe(0);
    }
  }, 30_000);

  async function handshake(port: number, sigalgs: string): Promise<string | null> {
    const ca = await readFile(path('root.pem'));
    return new Promise((done, failed) => {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, sigalgs }, () => {
        done(socket.getProtocol());
        socket.destroy();
      });
      socket.on('error', failed);
    });
  }
});
