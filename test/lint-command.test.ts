import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check } from '../src/cli/check.ts';
import { lint, type LintOptions } from '../src/cli/lint.ts';
import { wardgate } from './support/command.ts';
import { configuration, gatewayDirectory } from './support/gateway.ts';
import { createAuthority, issueCertificate, testPki, type TestPki } from './support/pki.ts';

const DAY = 86_400_000;

let pki: TestPki;
let directory: string;

beforeAll(async () => {
  pki = await testPki();
  directory = await mkdtemp(join(tmpdir(), 'wardgate-lint-'));
});

afterAll(() => rm(directory, { recursive: true }));

const put = async (name: string, content: string | Uint8Array, mode = 0o600): Promise<string> => {
  const file = join(directory, name);
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
};

/** Runs it, and gives the lines without the directory. */
const linted = async (files: readonly string[], options: LintOptions = {}): Promise<{ code: number; lines: readonly string[] }> => {
  let text = '';
  const code = await lint(files, options, (part) => void (text += part));
  return { code, lines: text.replaceAll(`${directory}/`, '').split('\n') };
};

describe('wardgate lint', () => {
  it('exits 0 when there is nothing but notes, and counts', async () => {
    const file = await put('good.pem', pki.serverEc.chain + pki.serverEc.key);
    expect(await linted([file])).toEqual({ code: 0, lines: ['2 certificates: 0 errors, 0 warnings, 0 notes'] });
    const { code, lines } = await linted([await put('rsa.pem', pki.serverRsa.chain)]);
    expect([code, lines.at(-1)]).toEqual([0, '2 certificates: 0 errors, 0 warnings, 1 note']);
  });

  it('names file, certificate, rule, value, what was expected and what to do, and exits 1', async () => {
    const long = await issueCertificate(pki.issuing, { subject: [['CN', 'Kiosk\u{202e}9']], notAfter: Date.now() + 5000 * DAY, omit: ['subjectAltName'], eku: ['serverAuth'], limits: 'off' });
    const { code, lines } = await linted([await put('long.pem', long.certificate)]);
    expect(code).toBe(1);
    expect(lines).toEqual([
      'long.pem: certificate 1, "Kiosk\\u{202e}9", server: error: validity: valid for 5001 days; expected at most 731, two years (NIST SP 800-57 part 1, table 1); have it issued anew for a shorter time, and renew it without people',
      'long.pem: certificate 1, "Kiosk\\u{202e}9", server: error: cn-only: named "Kiosk\\u{202e}9" by its common name alone; expected DNS alternative names, the only ones that clients compare (RFC 9525); have it issued anew with every name in the subject alternative names',
      '1 certificate: 2 errors, 0 warnings, 0 notes',
    ]);
  });

  it('reads DER, and prints JSON', async () => {
    const file = await put('doctor.der', pki.doctor.der);
    const run = await wardgate(['lint', '--json', file]);
    expect(run.code).toBe(0);
    expect(JSON.parse(run.stdout)).toEqual({
      good: true, certificates: 1,
      findings: [{ file, certificate: 1, sha256: pki.doctor.sha256, use: 'client', rule: 'cn-only', severity: 'note', detail: expect.stringContaining('"Dr Wang"') as string, remedy: expect.any(String) as string }],
    });
  });

  it('takes a certificate for what --use says', async () => {
    const file = await put('doctor.pem', pki.doctor.chain);
    const { lines } = await linted([file], { use: 'server' });
    expect(lines.filter((line) => line.includes('certificate 1'))).toEqual([expect.stringContaining('server: error: cn-only'), expect.stringContaining('server: error: eku-wrong')]);
    expect(lines.filter((line) => line.includes('certificate 2'))).toEqual([]);
  });

  it('finds one public key in the certificates of several files', async () => {
    const again = await issueCertificate(pki.issuing, { subject: [['CN', 'Dr Zhao']], key: pki.doctor.privateKey });
    const { code, lines } = await linted([await put('wang.pem', pki.doctor.certificate), await put('zhao.pem', again.certificate), await put('patient.pem', pki.patient.certificate)]);
    expect(code).toBe(1);
    expect(lines.filter((line) => line.includes('key-reused'))).toEqual([
      expect.stringMatching(/^wang\.pem: certificate 1, "Dr Wang", client: warning: key-reused: the same public key as certificate 1 of zhao\.pem:/), expect.stringMatching(/^zhao\.pem: /),
    ]);
  });

  it('knows from one file that another lacks an intermediate', async () => {
    const alone = await put('alone.pem', pki.serverEc.certificate);
    expect((await linted([alone])).code).toBe(0);
    const { code, lines } = await linted([alone, await put('bundle.pem', pki.root.certificate + pki.issuing.certificate)]);
    expect([code, lines[0]]).toEqual([1, expect.stringMatching(/^alone\.pem: certificate 1, .*: warning: chain-gap: .*Hospital Issuing CA/)]);
  });

  it('finds a leaf that stands behind its CA', async () => {
    const { code, lines } = await linted([await put('backwards.pem', pki.issuing.certificate + pki.serverEc.certificate)]);
    expect([code, lines[0]]).toEqual([1, expect.stringMatching(/^backwards\.pem: certificate 2, .*: error: chain-order/)]);
    expect((await linted([join(directory, 'backwards.pem')], { use: 'server' })).lines).toContainEqual(expect.stringContaining('error: chain-order'));
  });

  it('finds everything wrong with a server that signed itself, as tools make it by default', async () => {
    const own = await createAuthority({ name: 'old.hospital.test', keyType: 'rsa1024', signatureHash: 'sha1', notAfter: Date.now() + 5000 * DAY, limits: 'off' });
    const { code, lines } = await linted([await put('old.pem', own.certificate)], { use: 'server' });
    expect(code).toBe(1);
    expect(lines.map((line) => /: (error|warning): ([a-z-]+)/.exec(line)?.slice(1).join(' ')).filter((one) => one !== undefined)).toEqual([
      'error weak-key', 'error weak-signature', 'error validity', 'error cn-only', 'error basic-constraints', 'warning eku-missing', 'warning self-signed',
    ]);
  });

  it('finds a private key that others can read, and one of another certificate', async () => {
    const certificate = await put('server.pem', pki.serverEc.chain);
    expect(await linted([certificate, await put('open.key', pki.serverEc.key, 0o644)])).toMatchObject({ code: 1, lines: [expect.stringMatching(/^open\.key: error: key-readable: .*mode 0644/), expect.anything()] });
    expect(await linted([certificate, await put('other.key', pki.doctor.key)])).toMatchObject({ code: 1, lines: [expect.stringMatching(/^other\.key: error: key-mismatch/), expect.anything()] });
    expect((await linted([certificate, await put('own.key', pki.serverEc.key)])).code).toBe(0);
  });

  it('says which certificate cannot be read, and looks at the others', async () => {
    const broken = pki.doctor.certificate.replace(/\n(?=.)/, '\nAAAA');
    const { code, lines } = await linted([await put('half.pem', broken + pki.patient.certificate)]);
    expect(code).toBe(1);
    expect(lines).toEqual([expect.stringMatching(/^half\.pem: error: unreadable: certificate 1: /), '1 certificate: 1 error, 0 warnings, 0 notes']);
    for (const content of ['no certificate', '-----BEGIN CERTIFICATE-----\nAAAA', Buffer.from([0x30, 0x82, 0xff])]) {
      expect(await linted([await put('none.pem', content)])).toMatchObject({ code: 1, lines: [expect.stringContaining('error: unreadable'), '0 certificates: 1 error, 0 warnings, 0 notes'] });
    }
  });

  it('exits 2 without a file, for one that is not there, and for a use that is none', async () => {
    const file = await put('there.pem', pki.doctor.chain);
    for (const args of [[], [join(directory, 'nowhere.pem')], [directory], ['--use', 'wizard', file], ['--validation', 'xv', file]]) {
      expect(await wardgate(['lint', ...args])).toMatchObject({ code: 2, stdout: '' });
    }
  });
});

describe('wardgate check', () => {
  let gateway: string;
  const checked = async (edit: (text: string) => string = (text) => text): Promise<readonly string[]> => {
    await writeFile(join(gateway, 'linted.yaml'), edit(configuration(1)));
    let text = '';
    expect(await check({ config: join(gateway, 'linted.yaml') }, { write: (part: string) => void (text += part) })).toBe(0);
    return text.split('\n').filter((line) => line.includes('warning:')).map((line) => line.slice(line.indexOf(': ') + 2));
  };

  beforeAll(async () => {
    gateway = await gatewayDirectory(pki);
  });

  afterAll(() => rm(gateway, { recursive: true }));

  it('has nothing to say of certificates as they should be', async () => {
    expect((await checked()).filter((line) => line.includes(' holds '))).toEqual([]);
  });

  it('warns of what a closer look finds, at the place that names the file, and refuses nothing for it', async () => {
    const lax = await issueCertificate(pki.issuing, { subject: [['CN', 'gateway']], san: { dns: 'localhost' }, eku: ['serverAuth', 'codeSigning'], notAfter: Date.now() + 1000 * DAY, limits: 'off', key: pki.gatewayClient.privateKey });
    await writeFile(join(gateway, 'server-ec.pem'), lax.certificate);
    await writeFile(join(gateway, 'server-ec.key'), lax.key, { mode: 0o600 });
    const lines = (await checked()).filter((line) => line.includes(' holds '));
    expect(lines.map((line) => /^(\S+): warning: "[^"]+" holds "[^"]+", ([a-z-]+):/.exec(line)?.slice(1).join(' '))).toEqual([
      'listeners[0].tls.certificates[0].certificate validity', 'listeners[0].tls.certificates[0].certificate eku-broad', 'listeners[0].tls.certificates[0].certificate chain-gap',
      'listeners[0].tls.certificates[0].certificate key-reused', 'upstreams.records.tls.certificate key-reused',
    ]);
  });

  it('warns of a certificate whose CA did not validate what is demanded', async () => {
    const lines = await checked((text) => text.replace(/(certificate: \S*server-ec\.pem, key: [^ }]+)/, '$1, validation: ov'));
    expect(lines.filter((line) => line.includes('validation:'))).toEqual([expect.stringContaining('OV (the organisation) is demanded')]);
  });

  it('says all of a rule that it says of one certificate', async () => {
    const three = generateKeyPairSync('rsa', { modulusLength: 2060, publicExponent: 3 }).privateKey;
    const odd = await issueCertificate(pki.issuing, { subject: [['CN', 'localhost']], san: { dns: 'localhost' }, eku: ['serverAuth'], key: three });
    await writeFile(join(gateway, 'server-ec.pem'), odd.chain);
    await writeFile(join(gateway, 'server-ec.key'), odd.key, { mode: 0o600 });
    const lines = (await checked()).filter((line) => line.includes(' holds '));
    expect(lines).toEqual([expect.stringContaining('key-size: RSA with the public exponent 3;'), expect.stringContaining('key-size: RSA of 2060 bits')]);
  });

  it('says a rule once for a whole file of CAs', async () => {
    const old = await Promise.all(['One', 'Two', 'Three'].map((name) => createAuthority({ name, notAfter: Date.now() + 12_000 * DAY, limits: 'off' })));
    await writeFile(join(gateway, 'root.pem'), pki.root.certificate + old.map(({ certificate }) => certificate).join(''));
    const lines = (await checked()).filter((line) => line.includes('root.pem') && line.includes(', validity:'));
    expect(lines).toEqual([expect.stringMatching(/^listeners\[0\].* holds "One", validity: .*; the same of 2 more in this file$/)]);
  });
});
