import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pem } from '../src/ca/der.ts';
import { loginName } from '../src/cli/ca/login.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium } from './support/chromium.ts';
import { wardgate, type CommandRun } from './support/command.ts';
import { ask, readRecords, startGateway, type TestGateway } from './support/gateway.ts';
import { PASSPHRASE, testCa, type TestCa } from './support/office.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

let ca: TestCa;
let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

beforeAll(async () => {
  [ca, pki] = await Promise.all([testCa(), testPki()]);
  for (const name of ['Li Na', 'Chen Jing', 'api.hospital.test']) {
    writeFileSync(ca.path(`${name}.pem`), ca.of(name).entry.chain);
    writeFileSync(ca.path(`${name}.key`), ca.of(name).key, { mode: 0o600 });
  }
  writeFileSync(ca.path('ca.pass'), `${PASSPHRASE}\n`, { mode: 0o600 });
  backend = await startBackend(pki);
  const office = ca.open();
  gateway = await startGateway(pki, backend.port, {
    threads: 1,
    clientAuth: '{ mode: optional, trust: [root.pem, ca-root.pem], intermediates: [issuing.pem, ca-issuing.pem] }',
    revocation: '{ sources: [crl], crl: { files: [issuing.crl, root.crl, ca-issuing.crl, ca-root.crl] } }',
    files: {
      'ca-root.pem': office.root, 'ca-issuing.pem': office.issuers()[0]?.certificate ?? '',
      'ca-issuing.crl': pem('X509 CRL', office.lastCrl()?.der ?? Buffer.alloc(0)), 'ca-root.crl': pem('X509 CRL', readFileSync(join(ca.directory, 'root.crl'))),
    },
  });
  office.close();
});
afterAll(async () => {
  await gateway.stop();
  backend.close();
  ca.remove();
});

/** One command of the CA that tells the gateway. */
function command(name: string, ...args: readonly string[]): Promise<CommandRun> {
  return wardgate(['ca', name, ...args, '--dir', ca.directory, '-c', gateway.path('wardgate.yaml')]);
}

async function json(name: string, ...args: readonly string[]): Promise<Record<string, unknown> & { certificate: Record<string, unknown> }> {
  const { code, stdout, stderr } = await command(name, ...args, '--json', '--who', 'operator');
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as Record<string, unknown> & { certificate: Record<string, unknown> };
}

const KEY = ['--passphrase-file'] as const;
const key = (): readonly string[] => [...KEY, ca.path('ca.pass')];
const approver = (name = 'Li Na'): readonly string[] => ['--cert', ca.path(`${name}.pem`), '--key', ca.path(`${name}.key`)];

function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

describe('wardgate ca, beside a gateway', () => {
  let id = '';
  let passphrase = '';
  let fingerprint = '';
  let doctor: Issued;
  const asked = () => ask(pki, gateway.port, '/records', { client: doctor });

  test('asks, approves and issues: the certificate is let in at once, and each step is in the audit', async () => {
    const dry = await json('request', '--profile', 'doctor', '--name', 'Dr Chen', '--purpose', 'rounds', '--system', 'records', '--applicant', 'Ward 3', '--dry-run');
    expect(dry).toMatchObject({ dry_run: true, state: 'requested' });
    expect(await json('list')).not.toContainEqual(expect.objectContaining({ name: 'Dr Chen' }));
    ({ id } = await json('request', '--profile', 'doctor', '--name', 'Dr Chen', '--purpose', 'rounds', '--system', 'records', '--applicant', 'Ward 3') as unknown as { id: string });
    const early = await command('issue', id, '--out', ca.path('chen.p12'), ...key());
    expect([early.code, early.stderr]).toEqual([1, `wardgate: ${id}: issuing is not possible: it is requested; it has to be approved first\n`]);
    expect(await json('approve', id, ...approver(), '--note', 'known to me')).toMatchObject({ state: 'approved', approvals: [{ by: 'Li Na', role: 'registrar' }] });
    const issued = await json('issue', id, '--out', ca.path('chen.p12'), ...key());
    passphrase = issued['passphrase'] as string;
    fingerprint = issued.certificate['sha256'] as string;
    expect(statSync(ca.path('chen.p12')).mode & 0o777).toBe(0o600);
    const text = openssl('pkcs12', '-in', ca.path('chen.p12'), '-passin', `pass:${passphrase}`, '-nodes');
    doctor = { chain: issued.certificate['chain'], key: /-----BEGIN PRIVATE KEY-----[^]+-----END PRIVATE KEY-----\n/.exec(text)?.[0] } as Issued;
    await json('deliver', id, '--to', 'Dr Chen', '--how', 'USB stick 14');
    expect((await asked()).status).toBe(200);
    expect(await json('confirm', id, '--how', 'seen on the gateway')).toMatchObject({ state: 'confirmed' });
    const records = (await gateway.records()).filter(({ event }) => event === 'certificate_request' || event === 'certificate');
    expect(records.map(({ event, who, detail }) => [event, who, String(detail).replace(/ \(.*/s, '')])).toEqual([
      ['certificate_request', 'Ward 3', `submit ${id}`], ['certificate', 'Li Na', `approve ${id}`], ['certificate', 'operator', `reserve ${id}`], ['certificate', 'operator', `issue ${id}`],
      ['certificate', 'operator', `deliver ${id}`], ['certificate', 'operator', `confirm ${id}`],
    ]);
    expect(records[0]).toMatchObject({ subject: 'CN=Dr Chen,OU=Doctors,O=Hospital', names: ['Dr Chen'], result: 'done' });
    expect(records.at(-1)).toMatchObject({ fingerprint });
  });

  test('the key is nowhere in the CA', () => {
    const inner = doctor.key.split('\n').slice(1, 3).join('');
    for (const name of readdirSync(ca.directory)) {
      const bytes = readFileSync(join(ca.directory, name));
      expect(bytes.includes(inner.slice(0, 60)) || bytes.includes(Buffer.from(inner.slice(0, 60), 'base64').subarray(20, 44))).toBe(false);
    }
  });

  test('what OpenSSL, curl, Chromium and keytool say to it', async () => {
    writeFileSync(ca.path('chen.pem'), doctor.chain);
    const root = join(ca.directory, 'root.pem');
    const issuing = join(ca.directory, 'issuing.pem');
    expect(openssl('verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', root, '-untrusted', issuing, ca.path('chen.pem'))).toContain('OK');
    expect(openssl('verify', '-x509_strict', '-purpose', 'sslserver', '-verify_hostname', 'api.hospital.test', '-CAfile', root, '-untrusted', issuing, ca.path('api.hospital.test.pem'))).toContain('OK');
    openssl('crl', '-inform', 'DER', '-in', join(ca.directory, 'root.crl'), '-CAfile', root, '-noout');
    expect(openssl('pkey', '-in', join(ca.directory, 'issuing-1.key'), '-passin', `pass:${PASSPHRASE}`, '-noout')).toBe('');

    const { entry, key: serverKey } = ca.of('api.hospital.test');
    const server = createServer({ cert: entry.chain, key: serverKey, ca: readFileSync(root), requestCert: true }, (request, response) => response.end(`seen ${String((request.socket as unknown as { getPeerX509Certificate(): { subject: string } }).getPeerX509Certificate().subject)}`)).listen(0, '127.0.0.1');
    await new Promise((done) => server.once('listening', done));
    const curl = await new Promise<string>((done) => {
      const { port } = server.address() as AddressInfo;
      void import('node:child_process').then(({ execFile }) => execFile('curl', ['-sS', '--max-time', '10', '--cacert', root, '--resolve', `api.hospital.test:${port}:127.0.0.1`, '--cert-type', 'P12', '--cert', `${ca.path('chen.p12')}:${passphrase}`, `https://api.hospital.test:${port}/`], (error, stdout, stderr) => done(`${stdout}${stderr}${error?.message ?? ''}`)));
    });
    expect(curl).toContain('CN=Dr Chen');

    if (!chromiumInstalled) process.stdout.write('chromium is not installed: what a browser says to a certificate is not tested\n');
    else {
      const origin = `https://api.hospital.test:${(server.address() as AddressInfo).port}`;
      const chromium = await startChromium({ root: { certificate: readFileSync(root, 'utf8') } }, { pkcs12: ca.path('chen.p12'), passphrase }, origin);
      try {
        await chromium.page.goto(`${origin}/`);
        expect([chromium.page.status, await chromium.page.evaluate('document.body.innerText')]).toEqual([200, expect.stringContaining('CN=Dr Chen')]);
      } finally {
        await chromium.close();
      }
    }
    server.close();

    const keytool = spawnSync('keytool', ['-list', '-v', '-keystore', ca.path('chen.p12'), '-storepass', passphrase], { encoding: 'utf8' });
    if (keytool.error !== undefined) process.stdout.write('keytool is not installed: what Java says to a PKCS#12 file is not tested\n');
    else expect(keytool.stdout).toMatch(/Certificate chain length: 2[^]*Owner: CN=Dr Chen, OU=Doctors, O=Hospital/);
  });

  test('revoking ends it on the running gateway at once, and puts it on the CRL', async () => {
    expect(await json('revoke', id, '--reason', 'keyCompromise', '--why', 'laptop stolen', '--dry-run')).toMatchObject({ state: 'revoked', dry_run: true });
    expect((await asked()).status).toBe(200);
    const { code, stdout } = await command('revoke', id, '--reason', 'keyCompromise', '--why', 'laptop stolen', ...key());
    expect([code, stdout]).toEqual([0, expect.stringMatching(/deny list {5}denied certificate [0-9a-f]{64}(?:, until \S+)?, on the running gateway\nCRL {11}.*issuing\.crl/)]);
    expect((await asked()).status).toBe(403);
    const crl = openssl('crl', '-inform', 'DER', '-in', join(ca.directory, 'issuing.crl'), '-CAfile', join(ca.directory, 'issuing.pem'), '-noout', '-text');
    expect(crl).toMatch(/Key Compromise/);
    const verified = spawnSync('openssl', ['verify', '-crl_check', '-CAfile', join(ca.directory, 'root.pem'), '-untrusted', join(ca.directory, 'issuing.pem'), '-CRLfile', join(ca.directory, 'issuing.crl'), ca.path('chen.pem')], { encoding: 'utf8' });
    expect(verified.stderr).toContain('certificate revoked');
    expect((await gateway.records()).findLast(({ event }) => event === 'revocation')).toMatchObject({ fingerprint, detail: expect.stringContaining('laptop stolen') });
  });

  test('taking it off the deny list says that the CRL and the books of the CA have it revoked still, also beforehand', async () => {
    const reinstate = (...args: readonly string[]): Promise<CommandRun> => wardgate(['reinstate', '-c', gateway.path('wardgate.yaml'), ...args]);
    cpSync(ca.directory, gateway.path('state/ca'), { recursive: true });
    const dry = await reinstate('--cert', ca.path('chen.pem'), '--dry-run');
    expect(dry.stdout).toMatch(/^would be reinstated: certificate [0-9a-f]{64} of CN=Dr Chen[^;]*; nothing was changed\nSTILL REVOKED {2}ca: serial [0-9a-f]+ revoked \S+ \(keyCompromise\) in the books of the CA\nwhat follows {3}no CRL or OCSP answer at hand says so yet, and the gateway lets it in until one does/);
    writeFileSync(gateway.path('ca-issuing.crl'), readFileSync(join(ca.directory, 'issuing.crl')));
    expect((await reinstate('--fingerprint', fingerprint, '--dry-run')).stdout).toMatch(/STILL REVOKED {2}crl: serial [0-9a-f]+ revoked \S+ \(keyCompromise\) by [^]*STILL REVOKED {2}ca: [^]*what follows {3}the gateway goes on refusing it: a new certificate is needed\n$/);
    const { code, stdout } = await reinstate('--cert', ca.path('chen.pem'), '--json');
    expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ reinstated: true, revoked: [expect.objectContaining({ source: 'crl', reason: 'keyCompromise' }), expect.objectContaining({ source: 'ca' })], unknown: [] })]);
    await expect.poll(async () => (await asked()).status).toBe(403);
    expect((await reinstate('--fingerprint', 'ab'.repeat(32))).stdout).toMatch(/^was not on the deny list: .*\nnot known {6}what CRLs and OCSP say was not looked at/);
  });

  test('destruction ends it, and its report has the whole chain of events', async () => {
    expect((await command('destroy', id, '--witness', 'Li Na', '--how', 'shredded', '--who', 'operator')).stdout).toMatch(/\non record {5}destroy {2}by operator {2}\(how shredded, witness Li Na\)\n$/);
    const report = await command('report', id, '--out', ca.path('report.txt'));
    expect(report.code).toBe(0);
    const text = readFileSync(ca.path('report.txt'), 'utf8');
    expect(text.match(/^ +\d+ {2}\S+ {2}(\w+) {2}by/gm)?.map((line) => line.split(/ {2}/).filter((part) => part !== '')[2])).toEqual(['submit', 'approve', 'reserve', 'issue', 'deliver', 'confirm', 'revoke', 'destroy']);
    expect(text).toMatch(/approved {6}by Li Na as registrar[^]*the event log of the CA is whole[^]*BEGIN CERTIFICATE/);
    expect(await json('report', id)).toMatchObject({ report: 'certificate', faults: [], events: expect.arrayContaining([expect.objectContaining({ step: 'approve', detail: expect.objectContaining({ signed: expect.anything() }) })]) });
    expect(await json('verify')).toMatchObject({ whole: true, faults: [], audit: { seq: expect.any(Number), hash: expect.stringMatching(/^[0-9a-f]{16}$/) } });
    expect(await command('list', '--duplicates')).toMatchObject({ code: 0, stdout: 'no public key is in two certificates\n' });
  });

  test('an older copy in the place of the CA is found by what the gateway has on record', async () => {
    const older = ca.path('older');
    cpSync(ca.directory, older, { recursive: true });
    const { id: later } = await json('request', '--profile', 'doctor', '--name', 'Dr Later', '--purpose', 'rounds', '--system', 'records') as unknown as { id: string };
    await json('refuse', later, '--why', 'not needed');
    const verify = (directory: string, config: string): Promise<CommandRun> => wardgate(['ca', 'verify', '--dir', directory, '-c', config]);
    expect(await verify(ca.directory, gateway.path('wardgate.yaml'))).toMatchObject({ code: 0, stdout: expect.stringMatching(/\nthe gateway has event \d+ on record, which is the same\n$/) });
    expect(await verify(older, gateway.path('wardgate.yaml'))).toMatchObject({ code: 1, stdout: expect.stringMatching(/^the gateway has event (\d+) of this CA on record \([0-9a-f]{16}, .*, and the log ends at event \d+: an older copy is in the place of the CA/) });
    // It goes on, and has another event of that number.
    for (const name of ['Dr Other', 'Dr Another']) await wardgate(['ca', 'request', '--dir', older, '-c', ca.path('none.yaml'), '--profile', 'doctor', '--name', name, '--purpose', 'rounds', '--system', 'records']);
    expect(await verify(older, gateway.path('wardgate.yaml'))).toMatchObject({ code: 1, stdout: expect.stringMatching(/event \d+ of the log is another one/) });
    expect(await verify(older, ca.path('none.yaml'))).toMatchObject({ code: 0 });
  });

  test('an approver\'s key may be in PKCS#12 under a passphrase, and one may refuse', async () => {
    const { id: other } = await json('request', '--profile', 'server', '--name', 'new.hospital.test', '--ip', '10.1.2.3', '--purpose', 'x', '--system', 'records', '--validity', '30d') as unknown as { id: string };
    writeFileSync(ca.path('sec.p12'), ca.of('Chen Jing').pkcs12, { mode: 0o600 });
    writeFileSync(ca.path('sec.pass'), ca.of('Chen Jing').passphrase, { mode: 0o600 });
    expect(await json('approve', other, '--pkcs12', ca.path('sec.p12'), '--key-passphrase-file', ca.path('sec.pass'))).toMatchObject({ state: 'approved', names: { dns: ['new.hospital.test'], ip: ['10.1.2.3'] } });
    expect(await json('refuse', other, '--why', 'no such machine')).toMatchObject({ state: 'refused' });
    expect((await command('approve', other)).code).toBe(2);
  });

  test('an approver signs what he has looked at: the digest that show prints, or what stands on the terminal', async () => {
    const { id: asked, digest } = await json('request', '--profile', 'doctor', '--name', 'Dr Seen', '--purpose', 'x', '--system', 'records') as unknown as { id: string; digest: string };
    expect((await command('show', asked)).stdout).toMatch(new RegExp(`typed by {6}\\S+, logged in as \\S+[^]*digest {8}${digest}`));
    const login = (uid: string): string => loginName((file) => (file.endsWith('loginuid') ? uid : 'root:x:0:0::/root:/bin/sh\nwang:x:1003:1003::/home/wang:/bin/sh\n'));
    expect([login('1003'), login('1004'), login('4294967295')]).toEqual(['wang', 'uid 1004', userInfo().username]);
    expect(await command('approve', asked, ...approver(), '--digest', 'ab'.repeat(32))).toMatchObject({ code: 1, stderr: expect.stringContaining(`is not what you have looked at: its digest is ${digest}; nothing was signed`) });
    expect((await command('approve', asked, ...approver(), '--digest', 'short')).code).toBe(2);
    const typed = (answer: string): string => spawnSync('script', ['-qec', `${process.execPath} ${join(import.meta.dirname, '../src/main.ts')} ca approve ${asked} --dir ${ca.directory} -c ${ca.path('none.yaml')} --cert '${ca.path('Li Na.pem')}' --key '${ca.path('Li Na.key')}'`, '/dev/null'], { encoding: 'utf8', input: answer }).stdout;
    expect(typed('no\n')).toMatch(/subject {7}CN=Dr Seen[^]*Sign this\? \(yes or no\)[^]*nothing was signed/);
    expect(await json('show', asked)).toMatchObject({ state: 'requested' });
    expect((await command('approve', asked, ...approver(), '--digest', digest)).stdout).toMatch(/on record {5}approve {2}by Li Na {2}\(role registrar\)|approved {6}by Li Na/);
    expect((await command('refuse', asked, '--why', 'done')).stdout).toMatch(/on record {5}refuse {2}by \S+ {2}done\n$/);
    expect(await command('revoke', asked, '--reason', 'stolen', '--why', 'x')).toMatchObject({ code: 2, stderr: expect.stringContaining('--reason: "stolen"; expected one of unspecified, keyCompromise') });
  });

  test('a policy that was changed is taken when somebody with the passphrase says so', async () => {
    const file = join(ca.directory, 'policy.yaml');
    expect(await json('policy', ...key())).toEqual({ accepted: true });
    writeFileSync(file, `${readFileSync(file, 'utf8')}# changed\n`);
    expect(await command('policy', ...key())).toMatchObject({ code: 1, stdout: expect.stringContaining('nothing is issued') });
    expect(await command('verify')).toMatchObject({ code: 1, stdout: expect.stringContaining('policy.yaml: was changed since it was accepted') });
    expect(await command('policy', '--accept', '--dry-run', ...key())).toMatchObject({ code: 0, stdout: expect.stringContaining('would be accepted') });
    expect(await json('policy', '--accept', '--why', 'a comment', ...key())).toEqual({ accepted: true });
    expect((await command('verify')).code).toBe(0);
  });

  test('a passphrase may come from a command, and one that others can read is refused', async () => {
    expect(await json('crl', '--passphrase-command', `cat ${ca.path('ca.pass')}`)).toMatchObject({ file: join(ca.directory, 'issuing.crl') });
    chmodSync(ca.path('ca.pass'), 0o644);
    const { code, stderr } = await command('crl', ...key());
    chmodSync(ca.path('ca.pass'), 0o600);
    expect([code, stderr]).toEqual([1, expect.stringContaining('is open to others')]);
    expect((await command('crl')).stderr).toContain('give its passphrase');
  });
});

describe('wardgate ca, beside a gateway that does not run', () => {
  test('puts its steps into the audit that the gateway will go on with, and a revocation on its deny list', async () => {
    writeFileSync(ca.path('alone.yaml'), 'state: alone\nlisteners: [{ name: plain, address: "127.0.0.1:0", protocol: redirect }]\n');
    const run = async (...args: readonly string[]): Promise<CommandRun> => {
      const done = await wardgate(['ca', ...args, '--dir', ca.directory, '-c', ca.path('alone.yaml'), '--who', 'operator']);
      expect([done.code, done.stderr]).toEqual([0, '']);
      return done;
    };
    await run('request', '--profile', 'doctor', '--name', 'Dr Alone', '--purpose', 'rounds');
    const { stdout } = await run('revoke', ca.of('Kiosk 7').entry.serial, '--reason', 'cessationOfOperation', '--why', 'scrapped');
    expect(stdout).toContain('in the state of the gateway, which is not running');
    expect(await readRecords(ca.path('alone/audit'))).toEqual(expect.arrayContaining([
      expect.objectContaining({ event: 'certificate_request', who: 'operator', names: ['Dr Alone'] }), expect.objectContaining({ event: 'certificate', who: 'operator', fingerprint: ca.of('Kiosk 7').entry.sha256, detail: expect.stringMatching(/^revoke .*: scrapped$/) }),
    ]));
    expect((await wardgate(['audit', 'verify', '-c', ca.path('alone.yaml')])).code).toBe(0);
    // Who was first stays on the list, with his reason.
    await wardgate(['revoke', '-c', ca.path('alone.yaml'), '--fingerprint', ca.of('Chen Jing').entry.sha256, '--reason', 'key stolen', '--who', 'Li on call']);
    expect((await run('revoke', ca.of('Chen Jing').entry.serial, '--reason', 'keyCompromise', '--why', 'as Li says')).stdout).toContain('deny list     it is denied already, without an end (key stolen, Li on call)\n');
  });
});

describe('wardgate ca init', () => {
  test('makes root, issuing CA, server, clients and approvers in one command', async () => {
    const args = ['ca', 'init', '--dir', ca.path('new'), '--root-out', ca.path('usb'), '--name', 'Clinic', '--server', 'api.clinic.test,localhost,127.0.0.1', '--client', 'doctor:Dr Wang', '--client', 'doctor:王小明', '--client', 'patient:P 7:1007',
      '--client', 'device:kiosk-1.clinic.test', '--approver', 'registrar:Li Na', '--passphrase-file', ca.path('new.pass'), '--root-passphrase-file', ca.path('usb.pass'), '--permit-dns', 'clinic.test', '--permit-dns', 'localhost'];
    const dry = await wardgate([...args, '--dry-run']);
    expect([dry.code, existsSync(ca.path('new')), existsSync(ca.path('usb.pass'))]).toEqual([0, false, false]);
    const { code, stdout, stderr } = await wardgate(args);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`trust: [${ca.path('new/root.pem')}]`);
    const first = ca.path('new/first');
    expect(readdirSync(first).filter((name) => name.endsWith('.pem')).toSorted()).toEqual(['device-kiosk-1.clinic.test.pem', 'doctor-dr-wang.pem', 'doctor-王小明.pem', 'patient-p-7.pem', 'registrar-li-na.pem', 'server-api.clinic.test.pem']);
    for (const name of readdirSync(first)) {
      expect(statSync(join(first, name)).mode & 0o077).toBe(name.endsWith('.pem') ? 0o044 : 0);
      if (name.endsWith('.pem')) expect(openssl('verify', '-x509_strict', '-CAfile', ca.path('new/root.pem'), '-untrusted', ca.path('new/issuing.pem'), join(first, name))).toContain('OK');
    }
    expect(readdirSync(ca.path('usb')).toSorted()).toEqual(['root.crl', 'root.key', 'root.log', 'root.pem']);
    expect(statSync(ca.path('usb')).mode & 0o777).toBe(0o700);
    expect((await wardgate(['ca', 'verify', '--dir', ca.path('new')])).code).toBe(0);
  });

  test('names the directory that a passphrase file would be in and that is not there', async () => {
    const { code, stderr } = await wardgate(['ca', 'init', '--dir', ca.path('lost'), '--name', 'Clinic', '--passphrase-file', ca.path('nowhere/c.pass'), '--root-passphrase-file', ca.path('r.pass')]);
    expect([code, stderr]).toEqual([1, `wardgate: ${ca.path('nowhere/c.pass')} cannot be made: there is no directory ${ca.path('nowhere')}\n`]);
    expect(existsSync(ca.path('lost'))).toBe(false);
  });

  test.each([[['--key', 'rsa1024'], 'RSA of 1024 bits'], [['--hash', 'sha1'], 'signature: sha1'], [['--days', '5000'], '5000 days; expected at most 731']])('refuses %s with the reason', async (weak, why) => {
    const { code, stderr } = await wardgate(['ca', 'init', '--dir', ca.path('weak'), '--name', 'Clinic', '--passphrase-file', ca.path('w.pass'), '--root-passphrase-file', ca.path('w2.pass'), ...weak]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`no CA was made: ${why.includes(';') ? 'validity: ' : ''}`)]);
    expect(stderr).toContain(why);
    expect([existsSync(ca.path('weak')), existsSync(ca.path('w.pass'))]).toEqual([false, false]);
  });
});
