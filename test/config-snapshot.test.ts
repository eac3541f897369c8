import { execFile } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { appendFile, chmod, copyFile, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSnapshot, type Snapshot, type SnapshotOptions } from '../src/config/snapshot.ts';
import { configFixture, type ConfigFixture } from './config-fixture.ts';
import { createAuthority, issueCertificate, type Authority } from './support/pki.ts';

const example = await readFile(new URL('../config/wardgate.example.yaml', import.meta.url), 'utf8');

let fixture: ConfigFixture;
let authority: Authority;

beforeAll(async () => {
  fixture = await configFixture();
  authority = await createAuthority({ name: 'Other CA' });
});

afterAll(() => fixture.remove());

async function load(text: string | Uint8Array, options: Partial<SnapshotOptions> = {}) {
  const file = fixture.path('wardgate.yaml');
  await writeFile(file, text);
  return loadSnapshot(file, { now: Date.now(), ...options });
}

async function loaded(text: string, options: Partial<SnapshotOptions> = {}): Promise<Snapshot> {
  const result = await load(text, options);
  if (result.kind === 'invalid') throw new Error(JSON.stringify(result.issues));
  return result.snapshot;
}

async function issues(text: string | Uint8Array, options: Partial<SnapshotOptions> = {}): Promise<readonly string[]> {
  const result = await load(text, options);
  return result.kind === 'ok' ? [] : result.issues.map((issue) => `${issue.line}:${issue.column} ${issue.message}`);
}

function withPair(certificate: string, key: string): string {
  return `listeners:
  - name: clinical
    address: 127.0.0.1:8443
    tls:
      certificates:
        - certificate: ${certificate}
          key: ${key}
    client_auth: { trust: clients-ca.pem }
`;
}

describe('a snapshot', () => {
  it('holds everything the configuration names', async () => {
    const snapshot = await loaded(example);
    const { clinical } = snapshot.listeners;
    expect(snapshot.directory).toBe(fixture.directory);
    expect(Object.keys(snapshot.listeners)).toEqual(['clinical']);
    expect(clinical?.certificates.map(({ file, keyType, names }) => ({ file, keyType, names }))).toEqual([
      { file: 'server-ec.pem', keyType: 'ec', names: ['api.hospital.test', '*.hospital.test', '127.0.0.1'] },
      { file: 'server-rsa.pem', keyType: 'rsa', names: ['api.hospital.test', '*.hospital.test', '127.0.0.1'] },
    ]);
    expect(clinical?.ticketSecret).toEqual(new Uint8Array(await readFile(fixture.path('tickets.secret'))));
    expect(snapshot.crls).toEqual([{ file: 'clients.crl', bytes: new Uint8Array(await readFile(fixture.path('clients.crl'))) }]);
    expect(snapshot.upstreams['records']).toMatchObject({
      trust: await readFile(fixture.path('backend-ca.pem'), 'utf8'), certificate: await readFile(fixture.path('gateway.pem'), 'utf8'),
    });
  });

  it('has the default realm first, and gives the others their own anchors', async () => {
    const realms = (await loaded(example)).listeners['clinical']?.realms ?? [];
    const subjects = realms.map((realm) => ({
      name: realm.name, anchors: realm.anchors.map(subjectOf), intermediates: realm.intermediates.map(subjectOf),
    }));
    expect(subjects).toEqual([
      { name: '', anchors: ['O=Hospital\nCN=Hospital Root'], intermediates: ['CN=Hospital Issuing CA'] },
      { name: 'devices.hospital.test', anchors: ['CN=Devices CA'], intermediates: ['CN=Hospital Issuing CA'] },
    ]);
  });

  it('can be sent to a thread', async () => {
    const snapshot = await loaded(example);
    expect(structuredClone(snapshot)).toEqual(snapshot);
  });

  it('has another digest when a file has changed, and the same when none has', async () => {
    const before = await loaded(example);
    expect((await loaded(example)).digest).toBe(before.digest);
    expect((await loaded(`${example}#`)).digest).not.toBe(before.digest);
    await appendFile(fixture.path('clients-ca.pem'), '\n');
    expect((await loaded(example)).digest).not.toBe(before.digest);
  });

  it('holds a certificate that two files of one realm share once', async () => {
    await copyFile(fixture.path('devices-ca.pem'), fixture.path('copy.pem'));
    const snapshot = await loaded(withPair('server-ec.pem', 'server-ec.key').replace('trust: clients-ca.pem', 'trust: [devices-ca.pem, copy.pem]'));
    expect(snapshot.listeners['clinical']?.realms[0]?.anchors).toHaveLength(1);
  });

  it('takes the common name of a server certificate that has no alternative names', async () => {
    const issued = await issueCertificate(authority, { subject: [['CN', 'Old.Hospital.test']], eku: ['serverAuth'] });
    await writeFile(fixture.path('old.pem'), issued.chain);
    await writeFile(fixture.path('old.key'), issued.key, { mode: 0o600 });
    expect((await loaded(withPair('old.pem', 'old.key'))).listeners['clinical']?.certificates[0]?.names).toEqual(['old.hospital.test']);
  });

  it.each([['ed25519', 'ed25519'], ['p384', 'ec']] as const)('knows a key of type %s', async (made, keyType) => {
    const key = made === 'ed25519' ? generateKeyPairSync('ed25519').privateKey : generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    const issued = await issueCertificate(authority, { subject: [['CN', 'a.test']], eku: ['serverAuth'], key });
    await writeFile(fixture.path('typed.pem'), issued.chain);
    await writeFile(fixture.path('typed.key'), issued.key, { mode: 0o600 });
    expect((await loaded(withPair('typed.pem', 'typed.key'))).listeners['clinical']?.certificates[0]?.keyType).toBe(keyType);
  });
});

function subjectOf(der: Uint8Array): string {
  return new X509Certificate(der).subject;
}

describe('a private key', () => {
  const OWN = process.getegid?.() ?? 0;

  async function keyIssues(mode: number, group = OWN): Promise<readonly string[]> {
    await copyFile(fixture.path('server-ec.key'), fixture.path('mode.key'));
    await chmod(fixture.path('mode.key'), mode);
    return issues(withPair('server-ec.pem', 'mode.key'), { group });
  }

  it.each([0o600, 0o400, 0o640, 0o440])('is accepted with mode %o', async (mode) => {
    expect(await keyIssues(mode)).toEqual([]);
  });

  it.each([0o644, 0o604, 0o606, 0o602, 0o601])('is refused with mode %o: open to others', async (mode) => {
    expect(await keyIssues(mode)).toEqual([expect.stringMatching(/^7:16 "mode\.key" is open to others/)]);
  });

  it.each([0o660, 0o620])('is refused with mode %o: the group can write it', async (mode) => {
    expect(await keyIssues(mode)).toEqual([expect.stringMatching(/^7:16 "mode\.key" can be written by its group/)]);
  });

  it('is refused when a group can read it that is not the process\'s own', async () => {
    expect(await keyIssues(0o640, OWN + 1)).toEqual([expect.stringMatching(/^7:16 "mode\.key" can be read by the group/)]);
  });

  it('is judged by the file that a link leads to', async () => {
    await symlink('open.key', fixture.path('link.key'));
    expect(await issues(withPair('server-ec.pem', 'link.key'))).toEqual([expect.stringMatching(/"link\.key" is open to others/)]);
  });

  it('may stand in one file with its certificate, and is protected there too', async () => {
    const both = (await readFile(fixture.path('server-ec.pem'), 'utf8')) + (await readFile(fixture.path('server-ec.key'), 'utf8'));
    await writeFile(fixture.path('both.pem'), both, { mode: 0o600 });
    const snapshot = await loaded(withPair('both.pem', 'both.pem'));
    expect(snapshot.listeners['clinical']?.certificates[0]?.certificate).not.toContain('PRIVATE KEY');
    await chmod(fixture.path('both.pem'), 0o644);
    expect(await issues(withPair('both.pem', 'both.pem'))).toHaveLength(2);
  });

  it('is read in the form that openssl ecparam writes', async () => {
    const sec1 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const issued = await issueCertificate(authority, { subject: [['CN', 'a.test']], eku: ['serverAuth'], key: sec1 });
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    await writeFile(fixture.path('sec1.pem'), issued.chain);
    await writeFile(fixture.path('sec1.key'), parameters + sec1.export({ type: 'sec1', format: 'pem' }).toString(), { mode: 0o600 });
    expect(await issues(withPair('sec1.pem', 'sec1.key'))).toEqual([]);
  });

  it('is never quoted in a message', async () => {
    const key = await readFile(fixture.path('server-ec.key'), 'utf8');
    const broken = key.replace(/\n(.{20})/, '\nAAAA$1');
    await writeFile(fixture.path('broken.key'), broken, { mode: 0o600 });
    const found = await issues(withPair('server-ec.pem', 'broken.key'));
    expect(found).toEqual(['7:16 "broken.key" holds a private key that cannot be read']);
  });
});

describe('a file of certificates', () => {
  it('may carry comments in any encoding', async () => {
    const pem = await readFile(fixture.path('clients-ca.pem'));
    await writeFile(fixture.path('commented.pem'), Buffer.concat([Buffer.from([0x23, 0xe4, 0xf6, 0x0a]), Buffer.from('# 医院根\n'), pem]));
    expect(await issues(withPair('server-ec.pem', 'server-ec.key').replace('clients-ca.pem', 'commented.pem'))).toEqual([]);
  });

  // TRAPS 20; Caddy CVE-2026-27586 fell back to the system's roots.
  it('that is empty or holds none is refused, never replaced by the system\'s', async () => {
    for (const name of ['empty.pem', 'no-certificates.pem', 'garbage.pem', 'missing.pem']) {
      const text = withPair('server-ec.pem', 'server-ec.key').replace('clients-ca.pem', name);
      expect(await issues(text)).toEqual([expect.stringMatching(new RegExp(`^8:27 "${name}"`))]);
    }
  });

  it('is read whatever has become of its bytes, and refused with its name or taken as before', async () => {
    const pem = await readFile(fixture.path('devices-ca.pem'));
    const text = withPair('server-ec.pem', 'server-ec.key').replace('clients-ca.pem', 'mutated.pem');
    await fc.assert(fc.asyncProperty(fc.nat(pem.length - 1), fc.nat(255), async (at, byte) => {
      const mutated = Buffer.from(pem);
      mutated[at] = byte;
      await writeFile(fixture.path('mutated.pem'), mutated);
      for (const message of await issues(text)) expect(message).toMatch(/^8:27 "mutated\.pem"/);
    }), { numRuns: 150 });
  });

  it('that has expired is a warning by the clock that is given', async () => {
    const later = Date.now() + 100 * 86_400_000;
    const result = await load(withPair('server-ec.pem', 'server-ec.key'), { now: later });
    expect(result.kind === 'ok' && result.warnings.map((warning) => warning.message)).toEqual([
      expect.stringMatching(/^"server-ec\.pem" holds "api\.hospital\.test", which expired on \d{4}-\d\d-\d\d$/),
    ]);
  });
});

describe('a CRL file', () => {
  const withCrl = (name: string): string => `${withPair('server-ec.pem', 'server-ec.key')}revocation: { crl: { files: ${name} } }\n`;

  it('may be PEM', async () => {
    const der = await readFile(fixture.path('clients.crl'));
    await writeFile(fixture.path('pem.crl'), `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`);
    expect((await loaded(withCrl('pem.crl'))).crls.map(({ file }) => file)).toEqual(['pem.crl']);
  });

  it('that was cut short is refused', async () => {
    await copyFile(fixture.path('clients.crl'), fixture.path('half.crl'));
    await truncate(fixture.path('half.crl'), 40);
    expect(await issues(withCrl('half.crl'))).toEqual(['9:29 "half.crl" is no CRL, neither DER nor PEM, or not a whole one']);
  });
});

describe('the configuration file itself', () => {
  it('is named when it is missing', async () => {
    const file = fixture.path('nowhere.yaml');
    const result = await loadSnapshot(file, { now: 0 });
    expect(result).toEqual({ kind: 'invalid', issues: [{ file, line: 1, column: 1, path: 'configuration', message: `"${file}": no such file` }] });
  });

  it('is refused when it is a directory or a pipe', async () => {
    for (const name of ['a-directory', 'a-pipe']) {
      const result = await loadSnapshot(fixture.path(name), { now: 0 });
      expect(result).toMatchObject({ kind: 'invalid', issues: [{ message: expect.stringMatching(/is a directory|is not a regular file/) }] });
    }
  });

  it('is refused in another encoding than UTF-8, with the line', async () => {
    expect(await issues(Buffer.from(`\ufeff${example}`, 'utf16le'))).toEqual(['1:1 the file is UTF-16; expected UTF-8']);
    expect(await issues(Buffer.concat([Buffer.from('state: a\n# '), Buffer.from([0xe4]), Buffer.from('\n')]))).toEqual(['2:1 the file is not UTF-8']);
  });

  it('has the faults of its files and its own on one list', async () => {
    const text = withPair('missing.pem', 'server-ec.key').replace('address: 127.0.0.1:8443', 'address: nowhere');
    expect(await issues(text)).toEqual([
      '3:14 expected HOST:PORT such as 127.0.0.1:8443 or [::]:8443; got "nowhere"',
      '6:24 "missing.pem": no such file (paths are relative to the configuration file)',
    ]);
  });
});

it('names a file that the process may not read', async () => {
  const unreadable = fixture.path('unreadable.pem');
  await writeFile(unreadable, 'x');
  await chmod(unreadable, 0o000);
  await chmod(fixture.directory, 0o755);
  const config = fixture.path('unreadable.yaml');
  await writeFile(config, withPair('unreadable.pem', 'unreadable.pem').replace('clients-ca.pem', 'unreadable.pem'));
  const code = `const { loadSnapshot } = await import(${JSON.stringify(new URL('../src/config/snapshot.ts', import.meta.url).href)});
    console.log(JSON.stringify(await loadSnapshot(${JSON.stringify(config)}, { now: 0 })));`;
  // Root reads everything: the question is asked as somebody else.
  const asNobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { ...asNobody, cwd: '/' });
  expect(JSON.parse(stdout).issues.map((issue: { line: number; message: string }) => `${issue.line} ${issue.message}`)).toEqual([
    '6 "unreadable.pem" cannot be read: permission denied',
    '7 "unreadable.pem" cannot be read: permission denied',
    '8 "unreadable.pem" cannot be read: permission denied',
  ]);
});
