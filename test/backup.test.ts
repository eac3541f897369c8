import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sealBackup } from '../src/backup/container.ts';
import { lockForHolders, makeOwnKey, readHolder } from '../src/backup/lock.ts';
import { lastRun } from '../src/backup/runs.ts';
import { writeTar } from '../src/backup/tar.ts';
import { openOffice, type Office } from '../src/ca/office.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate, wardgateProcess, type CommandRun } from './support/command.ts';
import { ask, configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { openBackupByTheBook } from './support/open-backup.ts';
import { testCa } from './support/ca.ts';
import { testPki, type TestPki } from './support/pki.ts';

const CHEAP = { N: 2, r: 1, p: 1 };
const PASSPHRASES = { alice: 'the passphrase of alice', bob: 'the passphrase of bob' };

let pki: TestPki;
let backend: Backend;
let directory: string;
/** Where a key lies that is not beside the configuration, and where backups go. */
let elsewhere: string;
let gateway: Gateway | undefined;
/** Of the CA, which is at work all the time. */
let office: Office;

const at = (name: string): string => join(directory, name);
const config = (): string => at('wardgate.yaml');
const safe = (name: string): string => join(elsewhere, 'safe', name);
const keys = (): readonly string[] => Object.keys(PASSPHRASES).flatMap((name) => ['--with', safe(`${name}.key`), '--passphrase-file', safe(`${name}.pass`)]);
const create = (out: string, ...more: readonly string[]): Promise<CommandRun> => wardgate(['backup', 'create', '-c', config(), '--out', out, '--to', safe('alice.pub'), '--to', safe('bob.pub'), '--json', ...more]);
const verify = (file: string, ...more: readonly string[]): Promise<CommandRun> => wardgate(['backup', 'verify', file, '-c', config(), '--in', elsewhere, '--json', ...keys(), ...more]);
const unverified = (file: string, ...more: readonly string[]): Promise<CommandRun> => wardgate(['backup', 'restore', file, '-c', config(), '--json', ...keys(), ...more]);
const restore = (file: string, ...more: readonly string[]): Promise<CommandRun> => unverified(file, '--sha256', createHash('sha256').update(readFileSync(file)).digest('hex'), ...more);
const start = async (): Promise<number> => {
  gateway = await createGateway({ config: config() });
  return gateway.listeners[0]?.port ?? 0;
};
const stop = async (): Promise<void> => {
  await gateway?.stop(0);
  gateway = undefined;
};
const details = async (): Promise<readonly string[]> => (await readRecords(at('state/audit'))).filter(({ event }) => event === 'evidence').map(({ detail }) => String(detail));

/** Every file below a directory with its octets, mode and time. */
function picture(path: string): readonly string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).sort().map((name) => {
    const stats = statSync(join(path, name));
    return `${name} ${stats.mode} ${stats.isFile() ? `${stats.mtimeMs} ${readFileSync(join(path, name)).toString('base64')}` : ''}`;
  });
}

beforeAll(async () => {
  pki = await testPki();
  [backend, directory, elsewhere] = await Promise.all([startBackend(pki), gatewayDirectory(pki), mkdtemp(join(tmpdir(), 'wardgate-elsewhere-'))]);
  await mkdir(join(elsewhere, 'safe'));
  await mkdir(join(elsewhere, 'private'), { mode: 0o710 });
  for (const [name, passphrase] of Object.entries(PASSPHRASES)) {
    const made = makeOwnKey(name, passphrase, CHEAP);
    await writeFile(safe(`${name}.key`), made.file, { mode: 0o600 });
    await writeFile(safe(`${name}.pub`), made.publicLine);
    await writeFile(safe(`${name}.pass`), `${passphrase}\n`, { mode: 0o600 });
  }
  await rename(at('server-ec.key'), join(elsewhere, 'private/server-ec.key'));
  await writeFile(config(), configuration(backend.port, { threads: 1, top: 'alarms: {}\naudit: { checkpoint: 1s, rotate: { size: 64KiB } }' }).replace('key: server-ec.key', `key: ${join(elsewhere, 'private/server-ec.key')}`));
  const ca = await testCa(['Kiosk 9']);
  ca.office.close();
  await mkdir(at('state'), { mode: 0o700 });
  await cp(ca.directory, at('state/ca'), { recursive: true, mode: constants.COPYFILE_FICLONE });
  await chmod(at('state/ca'), 0o700);
  rmSync(join(ca.directory, '..'), { recursive: true });
  office = openOffice({ directory: at('state/ca') });
  await start();
});

afterAll(async () => {
  office.close();
  await stop();
  await backend.close();
  await Promise.all([directory, elsewhere].map((path) => rm(path, { recursive: true, force: true })));
});

test('one of a running gateway has all that it needs, of one moment, and nothing of the process; it is on record', async () => {
  expect((await wardgate(['revoke', '-c', config(), '--cert', at('device.pem'), '--reason', 'kiosk stolen'])).code).toBe(0);
  // The thread of alarms makes it, in its own time after the start.
  await expect.poll(() => existsSync(at('state/alarms.db')), { timeout: 20_000 }).toBe(true);
  const { code, stdout, stderr } = await create(safe('one.wgb'));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { sha256, outside } = JSON.parse(stdout) as { sha256: string; outside: readonly string[] };
  expect(outside).toEqual([join(elsewhere, 'private/server-ec.key')]);
  expect((statSync(safe('one.wgb')).mode & 0o777).toString(8)).toBe('600');
  expect((await details()).at(-1)).toContain(`which 2 of 2 keys open: SHA-256 ${sha256}`);
  expect(lastRun(at('state'), 'create')).toMatchObject({ sha256 });

  const texts = Object.entries(PASSPHRASES).map(([name, passphrase]) => ({ text: readFileSync(safe(`${name}.key`), 'utf8'), passphrase }));
  const archive = openBackupByTheBook(readFileSync(safe('one.wgb')), { keys: texts });
  const unpacked = await mkdtemp(join(elsewhere, 'unpacked-'));
  execFileSync('tar', ['-xf', '-', '-C', unpacked], { input: archive });
  expect(execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: unpacked, encoding: 'utf8' })).toBe('');
  const names = readdirSync(unpacked, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(join(unpacked, name)).isFile()).map((name) => `/${name}`);
  expect(names).toEqual(expect.arrayContaining([config(), ...['server-rsa.key', 'root.pem', 'issuing.crl', 'state/denylist.jsonl', 'state/audit.key', 'state/alarms.db', 'state/ca/ca.db', 'state/ca/issuing-1.key', 'state/register-of-backup.ndjson'].map(at), ...outside]));
  expect(names.filter((name) => /lock|\.sock|-wal|-shm|\/audit\//.test(name))).toEqual([]);
  const alarms = new DatabaseSync(join(unpacked, at('state/alarms.db')), { readOnly: true });
  expect(alarms.prepare('PRAGMA integrity_check').get()).toMatchObject({ integrity_check: 'ok' });
  alarms.close();
  await rm(unpacked, { recursive: true });
  expect((await create(safe('one.wgb'))).stderr).toContain('is there already');
});

test('the restore test restores it, says how long that took, is on record, and leaves nothing', async () => {
  const before = readdirSync(elsewhere);
  const { code, stdout } = await verify(safe('one.wgb'));
  expect(JSON.parse(stdout)).toMatchObject({ good: true, faults: [], recorded: true });
  expect(code).toBe(0);
  expect((JSON.parse(stdout) as { ms: number }).ms).toBeLessThan(30 * 60_000);
  expect(readdirSync(elsewhere)).toEqual(before);
  expect((await details()).at(-1)).toContain('it restores, in ');
  expect(lastRun(at('state'), 'verify')).toBeDefined();
});

test('the restore test finds what would not start', async () => {
  const rsa = await readFile(at('server-rsa.key'));
  await writeFile(at('server-rsa.key'), pki.doctor.key, { mode: 0o600 });
  await create(safe('wrong.wgb'));
  await writeFile(at('server-rsa.key'), rsa, { mode: 0o600 });
  const { code, stdout } = await verify(safe('wrong.wgb'));
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ good: false, faults: [expect.stringContaining('"server-rsa.key" is not the key of "server-rsa.pem"')] });
});

test('one that is made while records are written, segments closed and compressed has an audit that is whole', async () => {
  let asked = 0;
  let going = true;
  const port = gateway?.listeners[0]?.port ?? 0;
  const load = (async () => {
    while (going) {
      await Promise.all(Array.from({ length: 8 }, () => ask(pki, port, '/records', { client: pki.doctor })));
      asked += 8;
    }
  })();
  try {
    for (const name of ['busy-1', 'busy-2']) {
      const made = await wardgateProcess(['backup', 'create', '-c', config(), '--audit', '--out', safe(`${name}.wgb`), '--to', safe('alice.pub'), '--to', safe('bob.pub')]);
      expect({ code: made.code, stderr: made.stderr }).toEqual({ code: 0, stderr: '' });
    }
  } finally {
    going = false;
    await load;
  }
  expect(asked).toBeGreaterThan(0);
  for (const name of ['busy-1', 'busy-2']) {
    expect((await restore(safe(`${name}.wgb`), '--root', join(elsewhere, name))).code).toBe(0);
    expect((await wardgate(['audit', 'verify', join(elsewhere, name, at('state/audit'))])).code).toBe(0);
  }
});

test('nothing is restored under a running gateway', async () => {
  const before = picture(at('state/backup'));
  const { code, stderr } = await restore(safe('one.wgb'), '--force');
  expect({ code, stderr }).toEqual({ code: 1, stderr: `wardgate: a gateway runs on ${at('state')}: stop it first; nothing was changed\n` });
  const dry = await restore(safe('one.wgb'), '--dry-run');
  expect([dry.code, JSON.parse(dry.stdout)]).toMatchObject([0, { restored: false, running: true }]);
  expect(picture(at('state/backup'))).toEqual(before);
});

test('backup, wipe, restore: a doctor is served, a revoked device is not, and it is on record', async () => {
  const asked = office.submit({ profile: 'doctor', name: 'Dr Chen', key: { kind: 'made' }, applicant: { name: 'Ward 3' }, purpose: 'ward 3', system: 'records' });
  await create(safe('whole.wgb'), '--audit');
  await stop();
  office.close();
  await Promise.all([rm(directory, { recursive: true }), rm(join(elsewhere, 'private'), { recursive: true })]);
  const began = performance.now();
  const { code, stdout, stderr } = await restore(safe('whole.wgb'));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(stdout)).toMatchObject({ restored: true, aside: 0, recorded: true });
  expect(['server-rsa.key', 'state', 'state/denylist.jsonl'].map((name) => (statSync(at(name)).mode & 0o777).toString(8))).toEqual(['600', '700', '600']);
  expect((statSync(join(elsewhere, 'private')).mode & 0o777).toString(8)).toBe('710');
  const port = await start();
  expect((await ask(pki, port, '/records', { client: pki.doctor })).status).toBe(200);
  expect(performance.now() - began).toBeLessThan(30_000);
  expect((await ask(pki, port, '/echo/x', { client: pki.device })).status).toBe(403);
  const all = await details();
  expect(all.some((detail) => detail.startsWith('made a backup')) && all.some((detail) => detail.startsWith('restored the backup'))).toBe(true);
  expect((await wardgate(['audit', 'verify', '-c', config()])).code).toBe(0);
  office = openOffice({ directory: at('state/ca') });
  expect(office.request(asked.id)).toMatchObject({ state: 'requested', name: 'Dr Chen' });
  expect(office.faults()).toEqual([]);
  await stop();
});

test('over what is there it says first what would become of it, keeps that, and keeps what was revoked since', async () => {
  await writeFile(at('patient.pem'), pki.patient.chain);
  expect((await wardgate(['revoke', '-c', config(), '--cert', at('patient.pem'), '--reason', 'phone stolen'])).code).toBe(0);
  await writeFile(at('root.crl'), 'half a CRL');
  await writeFile(at('state/stranger.jsonl'), 'of another time\n');
  const before = picture(directory);
  const kinds = (run: CommandRun): object => Object.fromEntries((JSON.parse(run.stdout) as { steps: readonly { kind: string; target: string }[] }).steps.filter(({ kind }) => !['same', 'directory'].includes(kind)).map(({ kind, target }) => [target.slice(directory.length + 1), kind]));
  const planned = { 'root.crl': 'replace', 'state/denylist.jsonl': 'merge', 'state/stranger.jsonl': 'away' };
  const dry = await restore(safe('one.wgb'), '--dry-run');
  expect(dry.code).toBe(0);
  expect(kinds(dry)).toMatchObject(planned);
  const refused = await restore(safe('one.wgb'));
  expect(refused.code).toBe(1);
  expect(kinds(refused)).toMatchObject(planned);
  expect(picture(directory)).toEqual(before);

  const evidence = readdirSync(at('state/audit'));
  expect((await restore(safe('one.wgb'), '--force')).code).toBe(0);
  expect(readdirSync(at('state/audit'))).toEqual(expect.arrayContaining(evidence));
  const [aside = ''] = readdirSync(directory).filter((name) => name.startsWith('.before-restore-'));
  expect(readFileSync(at(`${aside}/root.crl`), 'utf8')).toBe('half a CRL');
  expect(readFileSync(at(`state/${aside}/stranger.jsonl`), 'utf8')).toBe('of another time\n');
  expect([directory, at('state')].flatMap((path) => readdirSync(path)).filter((name) => name.startsWith('.restore-'))).toEqual([]);
  const port = await start();
  expect((await Promise.all([pki.doctor, pki.patient, pki.device].map((client) => ask(pki, port, '/echo/x', { client })))).map(({ status }) => status)).toEqual([200, 403, 403]);
  await stop();
});

test('what anybody could have made to public keys (and root would write wherever it says) is restored only by its digest, or below a root', async () => {
  const plain = [{ name: 'etc/cron.d/wardgate-attack', text: '* * * * * root evil\n' }];
  const manifest = { format: 'wardgate-backup-contents', version: 1, made: '2026-11-22T16:00:00.000Z', host: 'gw1\u001b[2J', wardgate: '1', configuration: join(elsewhere, 'forged/wardgate.yaml'), state: join(elsewhere, 'forged/state'), audit: { directory: join(elsewhere, 'forged/state/audit'), segments: false }, socket: join(elsewhere, 'forged/state/admin.sock'), owned: [], outside: [] };
  const files = [{ name: 'wardgate-backup.json', text: JSON.stringify(manifest) }, ...plain.map(({ name, text }) => ({ name: `${elsewhere.slice(1)}/forged/${name}`, text }))];
  const sums = files.map(({ name, text }) => `${createHash('sha256').update(text).digest('hex')}  ${name}\n`).join('');
  const members = [...files, { name: 'SHA256SUMS', text: sums }].map(({ name, text }) => ({ name, kind: 'file' as const, mode: 0o644, uid: 0, gid: 0, mtime: 0, size: text.length, content: [Buffer.from(text)] }));
  const holders = Object.keys(PASSPHRASES).map((name) => readHolder(readFileSync(safe(`${name}.pub`), 'utf8'), name));
  await writeFile(safe('forged.wgb'), Buffer.concat([...sealBackup(manifest.made, (key) => lockForHolders(key, holders, 2), writeTar(members))]));
  const { code, stderr } = await unverified(safe('forged.wgb'));
  expect([code, stderr]).toEqual([1, expect.stringMatching(/anybody could have made it.*--sha256.*nothing was changed/)]);
  expect(existsSync(join(elsewhere, 'forged'))).toBe(false);
  const shown = await wardgate(['backup', 'restore', safe('forged.wgb'), '-c', config(), ...keys(), '--dry-run']);
  expect(shown.stdout).toContain('forged/etc/cron.d/wardgate-attack');
  expect(shown.stdout).not.toContain('\u001b');
});

test('one flipped bit anywhere is refused before anything is touched', async () => {
  const whole = readFileSync(safe('one.wgb'));
  const before = picture(directory);
  const places = Array.from({ length: 16 }, (_, index) => Math.floor((index * (whole.length - 1)) / 15));
  for (const place of places) {
    const changed = Buffer.from(whole);
    changed[place] = (changed[place] ?? 0) ^ 0x10;
    await writeFile(safe('changed.wgb'), changed);
    expect((await restore(safe('changed.wgb'), '--force')).code, String(place)).toBe(1);
  }
  await writeFile(safe('changed.wgb'), whole.subarray(0, -100));
  expect((await restore(safe('changed.wgb'), '--force')).code).toBe(1);
  expect((await restore(safe('one.wgb'), '--force', '--sha256', 'ab'.repeat(32))).code).toBe(1);
  expect(picture(directory)).toEqual(before);
});

test('below a root it stays below it, whatever links lie there', async () => {
  const root = join(elsewhere, 'root');
  expect((await restore(safe('one.wgb'), '--root', root)).code).toBe(0);
  expect(readFileSync(join(root, config())).equals(readFileSync(config()))).toBe(true);
  expect(existsSync(join(root, elsewhere, 'private/server-ec.key'))).toBe(true);
  expect((await details()).at(-1)).toContain(`below ${root}`);
  const trap = join(elsewhere, 'trap');
  const target = join(elsewhere, 'target');
  await Promise.all([mkdir(trap), mkdir(target)]);
  await symlink(target, join(trap, directory.split('/')[1] ?? ''));
  const { code, stderr } = await restore(safe('one.wgb'), '--root', trap);
  expect(code).toBe(1);
  expect(stderr).toContain('would lead out of');
  expect(readdirSync(target)).toEqual([]);
});

test('what cannot all be put in place is not put in place at all', async () => {
  const before = picture(at('state'));
  await writeFile(at('root.crl'), 'another');
  await rm(at('server-ec.pem'));
  await mkdir(at('server-ec.pem'));
  const { code, stderr } = await restore(safe('one.wgb'), '--force');
  expect({ code, stderr }).toEqual({ code: 1, stderr: `wardgate: ${at('server-ec.pem')}: a file is to be here, and there is a directory\n` });
  expect(readFileSync(at('root.crl'), 'utf8')).toBe('another');
  expect(picture(at('state'))).toEqual(before);
  await rm(at('server-ec.pem'), { recursive: true });
  expect((await restore(safe('one.wgb'), '--force')).code).toBe(0);
});

test.skipIf(process.getuid?.() !== 0)('what root restores belongs to whom it belonged, what the command itself has written included', async () => {
  execFileSync('chown', ['-R', '12345:12345', directory]);
  await create(safe('owned.wgb'));
  const owners = (): readonly string[] => readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(at(name)).uid !== 12345);
  expect(owners()).toEqual([]);
  office.close();
  await rm(directory, { recursive: true });
  expect(JSON.parse((await restore(safe('owned.wgb'))).stdout)).toMatchObject({ restored: true, foreign: 0 });
  expect(owners()).toEqual([]);
  execFileSync('chown', ['-R', '0:0', directory]);
  office = openOffice({ directory: at('state/ca') });
});

test('a passphrase never comes from the command line, from a file of everybody, or out of a word', async () => {
  const create_ = (...options: readonly string[]): Promise<CommandRun> => wardgate(['backup', 'create', '-c', config(), '--out', safe('never.wgb'), ...options]);
  expect(await create_('--passphrase', 'on the command line')).toMatchObject({ code: 2 });
  await writeFile(safe('short.pass'), 'short\n', { mode: 0o600 });
  expect((await create_('--passphrase-file', safe('short.pass'))).stderr).toContain('at least 12 characters');
  await chmod(safe('short.pass'), 0o644);
  expect((await create_('--passphrase-file', safe('short.pass'))).stderr).toContain('open to others');
  expect(existsSync(safe('never.wgb'))).toBe(false);
});

test('with a passphrase from a command: made, looked into, and tested, the newest of a directory', async () => {
  await writeFile(safe('backup.pass'), 'correct horse battery staple\n', { mode: 0o600 });
  const made = await wardgate(['backup', 'create', '-c', config(), '--directory', safe('monthly'), '--passphrase-command', `cat ${safe('backup.pass')}`]);
  expect(made.stdout).toMatch(/wardgate-\S+-\d{8}T\d{6}Z\.wgb: \d+ files, .* in \d+\.\d s\nSHA-256 [0-9a-f]{64}\noutside the directory of the configuration: /);
  const [name = ''] = readdirSync(safe('monthly'));
  const shown = await wardgate(['backup', 'inspect', join(safe('monthly'), name), '-c', config()]);
  expect(shown.stdout).toContain('opened by a passphrase (scrypt N=131072 r=8 p=1)');
  const tested = await wardgate(['backup', 'verify', safe('monthly'), '--latest', '-c', config(), '--passphrase-file', safe('backup.pass')]);
  expect(tested.stdout).toMatch(/restores: \d+ files of .*, restored and checked in \d+\.\d s/);
});
