import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startBackstage } from '../src/demo/backstage.ts';
import { listen } from '../src/demo/listen.ts';
import { ensureDemoPki } from '../src/demo/pki.ts';
import { loadProfile } from '../src/demo/profile.ts';
import type { Profile } from '../src/demo/profile.ts';
import { shellWord } from '../src/demo/try-lines.ts';
import { call } from './support/records-client.ts';

const run = promisify(execFile);
const day = 86_400_000;
const shipped = join(import.meta.dirname, '..', 'certs', 'profile.json');
let folder: string;
let certificates: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wardgate-pki-test-'));
  certificates = join(folder, 'certs');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The shipped profile, made quick: no RSA, few rounds. */
function profileFile(change: (profile: Profile) => unknown = () => ({})): string {
  const profile = JSON.parse(readFileSync(shipped, 'utf8')) as Profile;
  const quick = { ...profile, server: { ...profile.server, keys: ['ec'] }, pkcs12: { ...profile.pkcs12, iterations: 10_000 } } as Profile;
  const file = join(folder, 'profile.json');
  writeFileSync(file, JSON.stringify({ ...quick, ...(change(quick) as object) }));
  return file;
}

const ensure = async (file: string, now = Date.now()) => ensureDemoPki(certificates, await loadProfile(file), now);

describe('the development PKI', () => {
  test('of the shipped profile is whole: both server keys, private keys and PKCS#12 at 0600, the directory at 0700', async () => {
    const pki = await ensure(shipped);
    expect(pki.servers).toEqual(['server-ec', 'server-rsa']);
    expect(new X509Certificate(readFileSync(join(certificates, 'server-rsa.pem'))).publicKey.asymmetricKeyDetails?.modulusLength).toBe(2048);
    expect(statSync(certificates).mode & 0o777).toBe(0o700);
    const secret = readdirSync(certificates).filter((name) => /\.(key|p12)$/.test(name));
    expect(secret.length).toBe(20);
    for (const name of secret) expect(statSync(join(certificates, name)).mode & 0o777, name).toBe(0o600);
  });

  test('is one that OpenSSL verifies, for the names it is used under', async () => {
    await ensure(profileFile());
    const path = (name: string) => join(certificates, name);
    const verify = (...args: string[]) => run('openssl', ['verify', '-x509_strict', ...args]);
    const hospital = ['-CAfile', path('root.pem'), '-untrusted', path('issuing.pem')];
    await verify(...hospital, '-purpose', 'sslclient', ...['doctor', 'patient', 'device', 'revoked', 'visitor'].map((name) => path(`${name}.pem`)));
    await verify(...hospital, '-purpose', 'sslserver', '-verify_hostname', 'api.demo.wardgate.test', path('server-ec.pem'));
    await verify('-CAfile', path('backend-ca.pem'), '-purpose', 'sslserver', '-verify_hostname', 'records.internal', path('backend.pem'));
    await verify('-CAfile', path('backend-ca.pem'), '-purpose', 'sslclient', path('gateway.pem'));
    await expect(verify('-CAfile', path('root.pem'), path('gateway.pem'))).rejects.toThrow();
    const { stdout } = await run('openssl', ['pkcs12', '-in', path('doctor.p12'), '-passin', 'pass:wardgate', '-nokeys']);
    expect(stdout.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
  });

  test('is reused while it is valid', async () => {
    const file = profileFile();
    const first = await ensure(file);
    const again = await ensure(file, Date.now() + 30 * day);
    expect([first.kind, again.kind]).toEqual(['made', 'reused']);
    expect(again.clients['doctor']?.sha256).toBe(first.clients['doctor']?.sha256);
  });

  test('is made anew a day before any part of it expires', async () => {
    const file = profileFile();
    await ensure(file);
    expect(await ensure(file, Date.now() + 89 * day)).toMatchObject({ kind: 'made', remade: expect.stringContaining('responder.pem is valid until') as string });
  });

  test('is made anew when its profile has changed', async () => {
    await ensure(profileFile());
    expect(await ensure(profileFile(() => ({ organization: 'Another Hospital' })))).toMatchObject({ kind: 'made', remade: 'the profile has changed' });
  });

  test('is made anew when a key had become readable by others, and the new one is not', async () => {
    const file = profileFile();
    await ensure(file);
    const key = join(certificates, 'doctor.key');
    const before = readFileSync(key, 'utf8');
    chmodSync(key, 0o644);
    expect(await ensure(file)).toMatchObject({ kind: 'made', remade: expect.stringContaining('readable by others') as string });
    expect(statSync(key).mode & 0o777).toBe(0o600);
    expect(readFileSync(key, 'utf8')).not.toBe(before);
  });

  test.each(['issuing.pem', 'patient.key', 'doctor.p12', 'pki.json'])('is made anew when %s is missing', async (name) => {
    const file = profileFile();
    await ensure(file);
    rmSync(join(certificates, name));
    expect((await ensure(file)).kind).toBe('made');
    expect((await ensure(file)).kind).toBe('reused');
  });

  test('clears away what a killed run had not finished writing', async () => {
    const file = profileFile();
    await ensure(file);
    rmSync(join(certificates, 'pki.json'));
    writeFileSync(join(certificates, 'root.key.1.new'), 'half a key');
    await ensure(file);
    expect(readdirSync(certificates).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  test('is made anew when a certificate is not the one that was made', async () => {
    const file = profileFile();
    await ensure(file);
    writeFileSync(join(certificates, 'doctor.pem'), readFileSync(join(certificates, 'patient.pem')));
    expect((await ensure(file)).kind).toBe('made');
  });

  test.each([
    ['RSA-1024', 'weak_key', (profile: Profile) => ({ gateway: { ...profile.gateway, key: 'rsa1024' } })],
    ['SHA-1', 'weak_hash', () => ({ signature_hash: 'sha1' })],
    ['5,000 days', 'validity_too_long', (profile: Profile) => ({ server: { ...profile.server, days: 5000 } })],
    ['a root of eleven years', 'validity_too_long', (profile: Profile) => ({ root: { ...profile.root, days: 4018 } })],
  ])('refuses a profile of %s and writes nothing', async (_, code, change) => {
    await expect(ensure(profileFile(change))).rejects.toMatchObject({ name: 'IssueRefused', code });
    expect(existsSync(certificates)).toBe(false);
  });

  test('refuses a profile with an unknown field, naming file and field', async () => {
    const file = profileFile(() => ({ rooot: {} }));
    await expect(ensure(file)).rejects.toThrow(`${file}: : Unrecognized key: "rooot"`);
  });
});

describe('behind the gateway', () => {
  const any = { gateway: 0, console: 0, metrics: 0, backend: 0, responder: 0 };

  test('the responder and the CRL say who is revoked, to OpenSSL\'s clients', async () => {
    const stage = await startBackstage({ certificates, profile: profileFile(), ports: any });
    const path = (name: string) => join(certificates, name);
    const url = `http://127.0.0.1:${stage.ports.responder}/`;
    const asked = await run('openssl', ['ocsp', '-url', url, '-issuer', path('issuing.pem'), '-cert', path('doctor.pem'), '-cert', path('revoked.pem'), '-CAfile', path('root.pem'), '-verify_other', path('issuing.pem')]);
    const aboutIssuing = await run('openssl', ['ocsp', '-url', url, '-issuer', path('root.pem'), '-cert', path('issuing.pem'), '-CAfile', path('root.pem')]);
    const list = Buffer.from(await (await fetch(`${url}issuing.crl`)).arrayBuffer());
    const nothing = await fetch(`${url}other.crl`);
    writeFileSync(path('fetched.crl'), list);
    const read = await run('openssl', ['crl', '-inform', 'DER', '-in', path('fetched.crl'), '-noout', '-text', '-CAfile', path('issuing.pem')]);
    const files = readdirSync(join(stage.folder, 'crls'));
    await stage.stop();
    expect(asked.stderr).toContain('Response verify OK');
    expect(asked.stdout).toMatch(/doctor\.pem: good[^]*revoked\.pem: revoked[^]*cessationOfOperation/);
    expect(aboutIssuing.stdout).toContain('issuing.pem: good');
    expect(read.stderr).toContain('verify OK');
    expect(read.stdout).toContain('Cessation Of Operation');
    expect(nothing.status).toBe(404);
    expect(files.toSorted()).toEqual(['issuing.crl', 'root.crl']);
  });

  test('the responder answers GET, and refuses what is too long or no request', async () => {
    const stage = await startBackstage({ certificates, profile: profileFile(), ports: any });
    const path = (name: string) => join(certificates, name);
    const url = `http://127.0.0.1:${stage.ports.responder}/`;
    await run('openssl', ['ocsp', '-issuer', path('issuing.pem'), '-cert', path('revoked.pem'), '-no_nonce', '-reqout', path('request.der')]);
    const got = await fetch(url + encodeURIComponent(readFileSync(path('request.der')).toString('base64')));
    writeFileSync(path('answer.der'), Buffer.from(await got.arrayBuffer()));
    const long = await fetch(url, { method: 'POST', body: new Uint8Array(20_000) });
    const junk = await fetch(url, { method: 'POST', body: 'junk' });
    const read = await run('openssl', ['ocsp', '-respin', path('answer.der'), '-issuer', path('issuing.pem'), '-cert', path('revoked.pem'), '-no_nonce', '-CAfile', path('root.pem'), '-verify_other', path('issuing.pem')]);
    await stage.stop();
    expect(read.stdout).toContain('revoked.pem: revoked');
    expect(long.status).toBe(413);
    expect(Buffer.from(await junk.arrayBuffer()).toString('hex')).toBe('30030a0101');
  });

  test('the API serves the gateway\'s certificate of this PKI', async () => {
    const stage = await startBackstage({ certificates, profile: profileFile(), ports: any });
    const answer = await call({ port: stage.ports.backend, trust: stage.pki.backendCa.certificate, client: stage.pki.gateway, path: '/records' });
    await stage.stop();
    expect(answer.status).toBe(200);
    expect(answer.body['records']).toHaveLength(5);
  });

  test('takes another port where the usual one is taken', async () => {
    const taken = await listen(createServer(), 0);
    const stage = await startBackstage({ certificates, profile: profileFile(), ports: { gateway: taken.port, console: taken.port, metrics: taken.port, backend: taken.port, responder: taken.port } });
    await stage.stop();
    await taken.close();
    expect(Object.values(stage.ports)).not.toContain(taken.port);
    expect(new Set(Object.values(stage.ports)).size).toBe(5);
  });

  test('stopping leaves the certificates and nothing else', async () => {
    const stage = await startBackstage({ certificates, profile: profileFile(), ports: any });
    await stage.stop();
    expect(existsSync(stage.folder)).toBe(false);
    expect(existsSync(join(certificates, 'doctor.pem'))).toBe(true);
    for (const port of [stage.ports.backend, stage.ports.responder]) {
      const again = createServer().listen(port, '127.0.0.1');
      await once(again, 'listening');
      expect((again.address() as AddressInfo).port).toBe(port);
      again.close();
    }
  });

  test('a start that fails leaves no folder behind', async () => {
    const temporary = mkdtempSync(join(folder, 'tmp-'));
    await expect(startBackstage({ certificates, profile: profileFile(), ports: any, temporary, database: `sqlite:${join(folder, 'no', 'such', 'folder.db')}` })).rejects.toThrow();
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('a start that is called off leaves no folder behind', async () => {
    const temporary = mkdtempSync(join(folder, 'tmp-'));
    const ending = new AbortController();
    const starting = startBackstage({ certificates, profile: profileFile(), ports: any, temporary, signal: ending.signal });
    ending.abort();
    await expect(starting).rejects.toMatchObject({ name: 'AbortError' });
    expect(readdirSync(temporary)).toEqual([]);
  });
});

test('words of a printed command are quoted when a shell would read them otherwise', () => {
  expect([shellWord('certs/demo'), shellWord('/home/a b/c'), shellWord("it's")]).toEqual(['certs/demo', "'/home/a b/c'", `'it'\\''s'`]);
});
