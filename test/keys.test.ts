import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check } from '../src/cli/check.ts';
import { runForLine } from '../src/config/run-for-line.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { readPkcs12 } from '../src/pki/pkcs12.ts';
import { ask, listener, startGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, testPki, type Authority, type Issued } from './support/pki.ts';

const SECRET = 'correct horse battery';
const keytool = existsSync('/usr/bin/keytool');

let directory: string;
let root: Authority;
let issuing: Authority;
let server: Issued;

const path = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'wardgate-keys-'));
  root = await createAuthority({ name: 'Hospital Root' });
  issuing = await createAuthority({ name: 'Hospital Issuing CA', issuer: root });
  server = await issueCertificate(issuing, { subject: [['CN', 'a.test']], san: { dns: 'a.test' }, eku: ['serverAuth', 'clientAuth'] });
  await put('root.pem', root.certificate, 0o644);
  await put('issuing.pem', issuing.certificate, 0o644);
  await put('server.pem', server.chain, 0o644);
  await put('server.key', server.key);
  await put('encrypted.key', server.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: SECRET }));
  await put('passphrase', `${SECRET}\n`);
  await put('wrong', 'not this one\n');
  openssl(['pkcs12', '-export', '-inkey', 'server.key', '-in', 'server.pem', '-certfile', 'root.pem', '-out', 'server.p12', '-passout', `pass:${SECRET}`]);
  await chmod(path('server.p12'), 0o600);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

async function put(name: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await writeFile(path(name), content);
  await chmod(path(name), mode);
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
}

const CLIENT_AUTH = 'client_auth: { trust: root.pem }';

/** A configuration whose listener has this certificate. */
function config(pair: string): string {
  return `listeners:\n  - name: clinical\n    address: 127.0.0.1:8443\n    tls: { certificates: [{ ${pair} }] }\n    ${CLIENT_AUTH}\n`;
}

async function load(text: string, runCommands = true) {
  await writeFile(path('wardgate.yaml'), text);
  return loadSnapshot(path('wardgate.yaml'), { now: Date.now(), runCommands });
}

/** The certificate and the key of the listener, and what was doubtful. */
async function opened(pair: string) {
  const result = await load(config(pair));
  if (result.kind === 'invalid') throw new Error(JSON.stringify(result.issues));
  const [certificate] = result.snapshot.listeners['clinical']?.certificates ?? [];
  return { certificate, warnings: result.warnings.map(({ message }) => message) };
}

/** What refuses it, with its place. */
async function issues(text: string): Promise<readonly string[]> {
  const result = await load(text.startsWith('listeners') ? text : config(text));
  return result.kind === 'ok' ? [] : result.issues.map(({ line, path: place, message }) => `${line} ${place}: ${message}`);
}

const AT = 'listeners[0].tls.certificates[0]';

describe('an encrypted key', () => {
  it.each([
    ['a file', 'passphrase_file: passphrase'],
    ['a command', `passphrase_command: [printf, "${SECRET}\\n"]`],
  ])('is opened with the passphrase from %s', async (_, passphrase) => {
    const { certificate, warnings } = await opened(`certificate: server.pem, key: encrypted.key, ${passphrase}`);
    expect(certificate?.key).toBe(server.key);
    expect(warnings).toEqual([]);
  });

  it.each([
    ['a byte order mark and the line end of Windows', `\ufeff${SECRET}\r\n`],
    ['no line end', SECRET],
  ])('is opened by a file with %s', async (_, content) => {
    await put('written-elsewhere', content);
    expect((await opened('certificate: server.pem, key: encrypted.key, passphrase_file: written-elsewhere')).certificate?.key).toBe(server.key);
  });

  it.each([
    ['UTF-16', Buffer.from(`\ufeff${SECRET}`, 'utf16le'), 'it is UTF-16; expected UTF-8'],
    ['two lines', `${SECRET}\nand more\n`, ' is more than one line; expected the passphrase on a single one'],
    ['an empty line', '\n', ' holds no passphrase'],
    ['a passphrase that OpenSSL would cut', 'x'.repeat(1_024), ' is longer than 1023 bytes; OpenSSL takes no such passphrase'],
  ])('is not opened by a file with %s', async (_, content, message) => {
    await put('odd', content);
    expect(await issues('certificate: server.pem, key: encrypted.key, passphrase_file: odd')).toEqual([expect.stringMatching(new RegExp(`^4 listeners\\[0\\]\\.tls\\.certificates\\[0\\]\\.passphrase_file: "odd":? ?.*${message.trim()}$`))]);
  });

  it.each([
    ['a wrong passphrase', 'key: encrypted.key, passphrase_file: wrong', `4 ${AT}.passphrase_file: this passphrase does not open "encrypted.key"`],
    ['a passphrase for a key that is not encrypted', 'key: server.key, passphrase_file: passphrase', `4 ${AT}.passphrase_file: "server.key" is not encrypted: there is nothing for a passphrase to open`],
    ['no passphrase', 'key: encrypted.key', `4 ${AT}.key: "encrypted.key" is encrypted; expected passphrase_file or passphrase_command beside it`],
    ['two passphrases', 'key: encrypted.key, passphrase_file: passphrase, passphrase_command: [cat, passphrase]', `4 ${AT}.passphrase_command: expected passphrase_file or passphrase_command, not both`],
    ['a command that is none', 'key: encrypted.key, passphrase_command: [./nothing-here]', `4 ${AT}.passphrase_command: "./nothing-here" cannot be run: ENOENT`],
    ['a command that fails', 'key: encrypted.key, passphrase_command: [sh, -c, "echo the vault is sealed >&2; exit 3"]', `4 ${AT}.passphrase_command: "sh" failed with exit status 3: the vault is sealed`],
    ['a command that says nothing', 'key: encrypted.key, passphrase_command: ["true"]', `4 ${AT}.passphrase_command: what "true" writes holds no passphrase`],
    ['an empty command', 'key: encrypted.key, passphrase_command: []', `4 ${AT}.passphrase_command: expected a list of the program and its arguments; got an empty list`],
  ])('is refused with %s, at its line', async (_, pair, issue) => {
    expect(await issues(`certificate: server.pem, ${pair}`)).toContain(issue);
  });

  it('says nothing of a passphrase that a failing command wrote, to stdout or to stderr', async () => {
    const found = await issues(`certificate: server.pem, key: encrypted.key, passphrase_command: [sh, -c, "echo ${SECRET}; echo no luck with ${SECRET} >&2; exit 1"]`);
    expect(found).toEqual([`4 ${AT}.passphrase_command: "sh" failed with exit status 1`]);
  });

  it('a passphrase for nothing is refused', async () => {
    const text = config('certificate: server.pem, key: server.key').replace(CLIENT_AUTH, `${CLIENT_AUTH}\ntracing: { endpoint: "https://collector.test/v1/traces", trust: root.pem, passphrase_file: passphrase }`);
    expect(await issues(text)).toEqual(['6 tracing.passphrase_file: has no meaning without key or pkcs12']);
  });

  it.each([[0o604, 'is open to others'], [0o620, 'can be written by its group']])('its passphrase file is protected like a key: mode %o', async (mode, message) => {
    await put('shown', SECRET, mode);
    expect(await issues('certificate: server.pem, key: encrypted.key, passphrase_file: shown')).toEqual([expect.stringContaining(`passphrase_file: "shown" ${message}`)]);
  });

  it.each([['encrypted.key', 'certificate: server.pem, key: open-copy, passphrase_file: passphrase'], ['server.p12', 'pkcs12: open-copy, passphrase_file: passphrase']])('%s that others can read is refused, encrypted or not', async (name, pair) => {
    await put('open-copy', await readFile(path(name)), 0o644);
    expect(await issues(pair)).toEqual([expect.stringContaining('"open-copy" is open to others')]);
  });

  it.each([['-aes256', 'server'], ['-des3', 'server']])('in OpenSSL\'s old form (%s) is taken with a warning', async (cipher, name) => {
    openssl(['ec', '-in', `${name}.key`, '-out', 'old.key', cipher, '-passout', `pass:${SECRET}`]);
    await chmod(path('old.key'), 0o600);
    const { certificate, warnings } = await opened('certificate: server.pem, key: old.key, passphrase_file: passphrase');
    expect(certificate?.key).toBe(server.key);
    expect(warnings).toEqual([expect.stringMatching(/^"old\.key" is encrypted in OpenSSL's old form, .*; encrypt it anew: openssl pkcs8 -topk8/)]);
  });

  it.each([
    ['its old form', ['ec', '-in', 'server.key', '-des', '-provider', 'legacy', '-provider', 'default'], /is encrypted by "DES-CBC", which protects nothing/],
    ['PKCS#5 version 1', ['pkcs8', '-topk8', '-in', 'server.key', '-v1', 'PBE-MD5-DES', '-provider', 'legacy', '-provider', 'default'], /is encrypted by single DES or RC2/],
  ])('under single DES is refused: %s', async (_, args, message) => {
    openssl([...args, '-out', 'des.key', '-passout', `pass:${SECRET}`]);
    await chmod(path('des.key'), 0o600);
    expect(await issues('certificate: server.pem, key: des.key, passphrase_file: passphrase')).toEqual([expect.stringMatching(message)]);
  });

  it('under scrypt is opened', async () => {
    openssl(['pkcs8', '-topk8', '-in', 'server.key', '-v2', 'aes-256-cbc', '-scrypt', '-out', 'scrypt.key', '-passout', `pass:${SECRET}`]);
    await chmod(path('scrypt.key'), 0o600);
    expect((await opened('certificate: server.pem, key: scrypt.key, passphrase_file: passphrase')).certificate?.key).toBe(server.key);
  });
});

describe('where a key lies', () => {
  it('is warned of when others can put another in its place, by the way to a link as well', async () => {
    await mkdir(path('open'));
    await mkdir(path('closed'));
    await put('open/server.key', server.key);
    await put('closed/server.key', server.key);
    await symlink('../closed/server.key', path('open/link.key'));
    await symlink('../open/server.key', path('closed/link.key'));
    await chmod(path('open'), 0o777);
    for (const name of ['open/server.key', 'open/link.key', 'closed/link.key']) {
      const { warnings } = await opened(`certificate: server.pem, key: ${name}`);
      expect(warnings).toEqual([expect.stringContaining(`${JSON.stringify(name)} can be replaced by anybody: others can write to the directory "`)]);
    }
    expect((await opened('certificate: server.pem, key: closed/server.key')).warnings).toEqual([]);
    await chmod(path('open'), 0o1777);
    expect((await opened('certificate: server.pem, key: open/server.key')).warnings).toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0)('is warned of when it belongs to somebody else', async () => {
    await put('theirs.key', server.key);
    await chown(path('theirs.key'), 12_345, 0);
    expect((await opened('certificate: server.pem, key: theirs.key')).warnings).toEqual([expect.stringMatching(/^"theirs\.key" belongs to user 12345, who can read and replace it; expected the gateway's own user \(0\) or root$/)]);
  });
});

describe('a PKCS#12 file', () => {
  it('stands in place of certificate and key, with its intermediates and without the root', async () => {
    const { certificate, warnings } = await opened('pkcs12: server.p12, passphrase_file: passphrase');
    expect(certificate).toMatchObject({ key: server.key, names: ['a.test'], keyType: 'ec', file: 'server.p12' });
    expect(certificate?.certificate).toBe(server.chain);
    expect(warnings).toEqual([]);
  });

  it.each([
    ['-legacy', ['-legacy'], 'triple DES'],
    ['triple DES', ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'], 'triple DES'],
    ['RC2 of 128 bits and triple DES of two keys', ['-legacy', '-keypbe', 'PBE-SHA1-2DES', '-certpbe', 'PBE-SHA1-RC2-128'], 'triple DES of two keys'],
  ])('of an older program (%s) is opened with a warning', async (_, args, called) => {
    openssl(['pkcs12', '-export', '-inkey', 'server.key', '-in', 'server.pem', ...args, '-out', 'old.p12', '-passout', `pass:${SECRET}`]);
    await chmod(path('old.p12'), 0o600);
    const { certificate, warnings } = await opened('pkcs12: old.p12, passphrase_file: passphrase');
    expect(certificate).toMatchObject({ key: server.key, certificate: server.chain });
    expect(warnings).toEqual([expect.stringContaining(`"old.p12" protects its key by ${called}, which is out of date`)]);
  });

  it('with a passphrase outside ASCII is opened in both forms', async () => {
    await put('passphrase-zh', '医院 pässwort\n');
    for (const form of [[], ['-legacy']]) {
      openssl(['pkcs12', '-export', '-inkey', 'server.key', '-in', 'server.pem', ...form, '-out', 'zh.p12', '-passout', 'pass:医院 pässwort']);
      await chmod(path('zh.p12'), 0o600);
      expect((await opened('pkcs12: zh.p12, passphrase_file: passphrase-zh')).certificate?.key).toBe(server.key);
    }
  });

  it('without encryption needs no passphrase', async () => {
    openssl(['pkcs12', '-export', '-inkey', 'server.key', '-in', 'server.pem', '-keypbe', 'NONE', '-certpbe', 'NONE', '-nomac', '-out', 'plain.p12', '-passout', 'pass:']);
    await chmod(path('plain.p12'), 0o600);
    expect((await opened('pkcs12: plain.p12')).certificate?.key).toBe(server.key);
  });

  it.skipIf(!keytool)('made by keytool is opened, in its present form and in that of before 2021', async () => {
    await put('storepass', 'changeit\n');
    for (const legacy of [[], ['-J-Dkeystore.pkcs12.legacy']]) {
      await rm(path('java.p12'), { force: true });
      execFileSync('keytool', ['-J-XX:TieredStopAtLevel=1', ...legacy, '-genkeypair', '-alias', 'gateway', '-keyalg', 'EC', '-groupname', 'secp256r1', '-dname', 'CN=java.test', '-keystore', path('java.p12'), '-storetype', 'PKCS12', '-storepass', 'changeit'], { stdio: 'ignore' });
      await chmod(path('java.p12'), 0o600);
      const { certificate } = await opened('pkcs12: java.p12, passphrase_file: storepass');
      expect(new X509Certificate(certificate?.certificate ?? '').subject).toBe('CN=java.test');
    }
  });

  it.each([
    ['a wrong passphrase', 'pkcs12: server.p12, passphrase_file: wrong', `4 ${AT}.passphrase_file: this passphrase does not open "server.p12"`],
    ['no passphrase', 'pkcs12: server.p12', `4 ${AT}.pkcs12: "server.p12" is encrypted; expected passphrase_file or passphrase_command beside it`],
    ['something else in it', 'pkcs12: encrypted.key, passphrase_file: passphrase', `4 ${AT}.pkcs12: "encrypted.key" cannot be read as PKCS#12: it is damaged, or something else`],
    ['a key beside it', 'pkcs12: server.p12, key: server.key, passphrase_file: passphrase', `4 ${AT}.key: expected certificate and key, or pkcs12 in place of both`],
    ['nothing at all', 'validation: dv', `4 ${AT}: expected certificate and key, or pkcs12`],
  ])('is refused with %s', async (_, pair, issue) => {
    expect(await issues(pair)).toContain(issue);
  });

  it('without the certificate of its key is refused', async () => {
    openssl(['pkcs12', '-export', '-inkey', 'server.key', '-nocerts', '-out', 'bare.p12', '-passout', `pass:${SECRET}`]);
    await chmod(path('bare.p12'), 0o600);
    expect(await issues('pkcs12: bare.p12, passphrase_file: passphrase')).toEqual([`4 ${AT}.pkcs12: "bare.p12" holds no certificate of its key`]);
  });

  it('that is damaged anywhere never throws anything but a named error, and never opens', async () => {
    const whole = new Uint8Array(await readFile(path('server.p12')));
    for (let at = 0; at < whole.length; at += 97) {
      const damaged = Uint8Array.from(whole, (octet, index) => (index === at ? octet ^ 0x41 : octet));
      try {
        expect(readPkcs12(damaged, SECRET).keys).toHaveLength(1);
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^(?:malformed|unsupported|passphrase)$/);
      }
    }
  });
});

describe('keys that stand in other sections', () => {
  it('are opened the same way', async () => {
    const own = 'trust: root.pem, certificate: server.pem, key: encrypted.key, passphrase_file: passphrase';
    const file = 'trust: root.pem, pkcs12: server.p12, passphrase_command: [cat, passphrase]';
    await put('secret', Buffer.from(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' })));
    const result = await load(`${config('pkcs12: server.p12, passphrase_file: passphrase')}
upstreams: { records: { endpoints: ["https://127.0.0.1:9443"], tls: { ${own} } }, imaging: { endpoints: ["https://127.0.0.1:9444"], tls: { ${file} } } }
audit:
  sinks: [{ name: siem, kind: syslog, receiver: siem.test, tls: { ${file} } }]
  anchor: { syslog: { receiver: siem.test, tls: { ${own} } } }
alarms: { channels: [{ name: soc, kind: syslog, receiver: soc.test, tls: { ${file} } }] }
tracing: { endpoint: "https://collector.test/v1/traces", ${own} }
second_factor: { sms: { url: "https://sms.test/", secret_file: secret, ${file} } }
routes: [{ name: a, match: { path: /a }, allow: [doctor], upstream: records, require: { second_factor: sms } }]
roles: [{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }]
`);
    if (result.kind === 'invalid') throw new Error(JSON.stringify(result.issues));
    const { upstreams, sinks, anchor, alarmChannels, tracing, secondFactor } = result.snapshot;
    for (const held of [upstreams['records'], upstreams['imaging'], sinks['siem'], anchor, alarmChannels['soc'], tracing, secondFactor?.sms]) {
      expect(held).toMatchObject({ certificate: server.chain, key: server.key });
    }
  });
});

describe('a gateway with an encrypted key', () => {
  it('has its passphrase told anew at each reload, and serves on with the key it has when that fails', async () => {
    const pki = await testPki();
    const encrypted = pki.serverEc.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: SECRET }).toString();
    const gateway = await startGateway(pki, 1, {
      threads: 1,
      listeners: listener('clinical').replace('key: server-ec.key', 'key: encrypted.key, passphrase_command: [sh, tell.sh]'),
      files: { 'encrypted.key': encrypted, 'tell.sh': `echo ${SECRET}` },
    });
    try {
      expect((await ask(pki, gateway.port, '/nowhere', { client: pki.doctor })).status).toBe(404);
      await writeFile(gateway.path('tell.sh'), 'echo sealed >&2; exit 1');
      const failure: Error = await gateway.gateway.reload().then(() => new Error('reloaded'), (error: Error) => error);
      expect(failure.message).toContain('passphrase_command: "sh" failed with exit status 1: sealed');
      expect((await ask(pki, gateway.port, '/nowhere', { client: pki.doctor })).status).toBe(404);
      await writeFile(gateway.path('tell.sh'), `echo ${SECRET}`);
      await gateway.gateway.reload();
      expect(JSON.stringify(await gateway.records())).not.toContain(SECRET);
    } finally {
      await gateway.stop();
    }
  });
});

describe('commands that tell passphrases', () => {
  const pair = 'certificate: server.pem, key: encrypted.key, passphrase_command: [sh, -c, "touch ran; cat passphrase"]';

  it('are not run by check, which says what it does not know, until it is told to', async () => {
    await rm(path('ran'), { force: true });
    await writeFile(path('wardgate.yaml'), config(pair));
    let text = '';
    expect(await check({ config: path('wardgate.yaml') }, { write: (part) => (text += part) })).toBe(0);
    expect(text).toContain(`${AT}.passphrase_command: warning: not run, so that nothing is known of what it opens; wardgate check --run-commands runs it`);
    expect(existsSync(path('ran'))).toBe(false);
    text = '';
    expect(await check({ config: path('wardgate.yaml'), runCommands: true }, { write: (part) => (text += part) })).toBe(0);
    expect(text).not.toContain('not run');
    expect(existsSync(path('ran'))).toBe(true);
  });

  it('end with their deadline, and what they started with them', async () => {
    const started = Date.now();
    const result = await runForLine(['sh', '-c', 'sleep 60 & echo $! > sleeper; wait'], { directory, deadline: 300 });
    expect(result).toEqual({ kind: 'fault', message: '"sh" has not ended within 0.3 s' });
    expect(Date.now() - started).toBeLessThan(5_000);
    const sleeper = Number(await readFile(path('sleeper'), 'utf8'));
    await expect.poll(() => alive(sleeper)).toBe(false);
  });

  it('are ended when they write without end', async () => {
    expect(await runForLine(['yes'], { directory, deadline: 10_000 })).toEqual({ kind: 'fault', message: '"yes" writes more than 4096 bytes' });
  });
});

/** Whether a process runs; one that has ended and that nobody has asked for does not. */
function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(execFileSync('cat', [`/proc/${pid}/status`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  } catch {
    return false;
  }
}
