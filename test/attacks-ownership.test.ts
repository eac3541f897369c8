import { spawn } from 'node:child_process';
import { chmodSync, chownSync, lchownSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { takeFile, takeState } from '../src/backup/read-file.ts';
import { initialPolicy } from '../src/ca/policy.ts';
import { ownerOf } from '../src/store/as-owner.ts';
import { writeNoteFile } from '../src/store/note-file.ts';
import { wardgateProcess, type CommandRun } from './support/command.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('attacks on what root does in a state directory are skipped: the tests do not run as root');

/** Of the gateway's user, who was taken over; and of the system. */
interface Ground {
  readonly base: string;
  readonly state: string;
  readonly system: string;
  readonly config: string;
}

function made(): Ground {
  const base = mkdtempSync(join(tmpdir(), 'wardgate-owner-'));
  const [state, system, config] = [join(base, 'state'), join(base, 'system'), join(base, 'wardgate.yaml')];
  for (const directory of [state, system]) mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(system, 'shadow'), 'root:x\n', { mode: 0o644 });
  writeFileSync(config, 'state: ./state\nlisteners: [{ name: plain, address: "127.0.0.1:0", protocol: redirect }]\n');
  chmodSync(base, 0o755);
  chownSync(state, NOBODY, NOBODY);
  return { base, state, system, config };
}

function untouched({ system }: Ground): void {
  expect([readdirSync(system), readFileSync(join(system, 'shadow'), 'utf8'), statSync(join(system, 'shadow')).mode & 0o777, statSync(system).uid]).toEqual([['shadow'], 'root:x\n', 0o644, 0]);
}

describe.skipIf(!isRoot)('what a command that must stay root does in the state directory of a gateway that was taken over', () => {
  let ground: Ground;
  beforeEach(() => {
    ground = made();
  });
  afterEach(() => rmSync(ground.base, { recursive: true, force: true }));

  test('writes no note where a link leads, and gives away no directory of the system', () => {
    symlinkSync(ground.system, join(ground.state, 'backup'));
    expect(() => writeNoteFile(ground.state, 'backup/create.json', { at: 'now' })).toThrow('EACCES');
    untouched(ground);
  });

  test('leaves what it writes to the owner, and is root again afterwards', () => {
    writeNoteFile(ground.state, 'backup/create.json', { at: 'now' });
    expect(['backup', 'backup/create.json'].map((name) => lstatSync(join(ground.state, name)).uid)).toEqual([NOBODY, NOBODY]);
    expect([process.geteuid?.(), process.getegid?.(), readFileSync(join(ground.system, 'shadow'), 'utf8')]).toEqual([0, 0, 'root:x\n']);
  });

  test('takes nothing into a backup that a directory leads to which was swapped for a link, and takes what is the owner\'s', () => {
    const [swapped, secret] = [join(ground.state, 'ca'), join(ground.system, 'ca.db')];
    const database = new DatabaseSync(secret);
    database.exec('CREATE TABLE keys (key TEXT)');
    database.close();
    symlinkSync(ground.system, swapped);
    for (const name of ['shadow', 'ca.db']) expect(() => takeState(join(swapped, name))).toThrow('EACCES');
    rmSync(secret);
    writeFileSync(join(ground.state, 'devices.jsonl'), '{}\n', { mode: 0o600 });
    chownSync(join(ground.state, 'devices.jsonl'), NOBODY, NOBODY);
    expect([takeFile(join(ground.state, 'devices.jsonl')).octets.toString(), process.geteuid?.()]).toEqual(['{}\n', 0]);
  });

  test('takes whoever could lead the way elsewhere for the owner, also where root made the link that he can replace', () => {
    const [roots, theirs] = [join(ground.base, 'link'), join(ground.state, 'deeper')];
    symlinkSync('./system/../system', roots);
    symlinkSync(ground.system, theirs);
    expect([roots, theirs, join(theirs, 'further'), join(ground.base, 'none')].map((way) => ownerOf(way)?.uid)).toEqual([0, NOBODY, NOBODY, undefined]);
    rmSync(roots);
    symlinkSync(theirs, roots);
    expect(ownerOf(roots)?.uid).toBe(NOBODY);
  });

  test('is misled by nobody who swaps his directory for a link while it is looked at', async () => {
    const parent = join(ground.base, 'theirs');
    for (const directory of [parent, join(parent, 'state')]) mkdirSync(directory);
    symlinkSync('/', join(parent, 'link'));
    for (const path of [parent, join(parent, 'state')]) chownSync(path, NOBODY, NOBODY);
    lchownSync(join(parent, 'link'), NOBODY, NOBODY);
    const swap = "const { renameSync } = require('node:fs'); for (const end = Date.now() + 600; Date.now() < end;) { renameSync('state', 'a'); renameSync('link', 'state'); renameSync('state', 'link'); renameSync('a', 'state'); }";
    const swapping = spawn(process.execPath, ['-e', swap], { cwd: parent, stdio: 'ignore' });
    const found = new Set<number | undefined>();
    while (swapping.exitCode === null) {
      for (let times = 0; times < 500; times += 1) found.add(ownerOf(join(parent, 'state'))?.uid);
      await new Promise(setImmediate);
    }
    expect([...found].filter((uid) => uid !== undefined)).toEqual([NOBODY]);
  });
});

describe.skipIf(!isRoot)("root's commands in the state directory of a gateway that was taken over", () => {
  let grounds: readonly Ground[];
  let runs: readonly CommandRun[];

  beforeAll(async () => {
    const [lock, list, ca, out, readable, foreign] = [made(), made(), made(), made(), made(), made()] as const;
    grounds = [lock, list, ca, out, readable, foreign];
    symlinkSync(join(lock.system, 'lock'), join(lock.state, 'lock'));
    symlinkSync(join(list.system, 'shadow'), join(list.state, 'suspensions.jsonl'));
    const office = join(ca.state, 'ca');
    mkdirSync(office, { mode: 0o700 });
    chownSync(office, NOBODY, NOBODY);
    symlinkSync(join(ca.system, 'shadow'), join(office, 'ca.db'));
    for (const name of ['policy.yaml', 'root.pem']) writeFileSync(join(office, name), initialPolicy({ organization: 'Hospital', domain: 'hospital.test' }));
    // The layout of docs/deployment.md: a secret of root's, which the gateway's group reads.
    for (const { base, config } of [readable, foreign]) {
      writeFileSync(join(base, 'store.pass'), 'secret of the store', { mode: 0o640 });
      chmodSync(join(base, 'store.pass'), 0o640);
      writeFileSync(config, `${readFileSync(config, 'utf8')}store: { redis: "redis://127.0.0.1:1", password_file: store.pass }\n`);
    }
    chownSync(join(readable.base, 'store.pass'), 0, NOBODY);
    const suspend = ({ config }: Ground): readonly string[] => ['suspend', '-c', config, '--role', 'doctor', '--reason', 'x'];
    runs = await Promise.all([
      suspend(lock), suspend(list), ['ca', 'list', '--dir', office], ['seal', '-c', out.config, '--case', 'x', '--out', join(out.system, 'x.sealed')],
      ...[readable, foreign].map(({ config }) => ['check', '-c', config]),
    ].map((args) => wardgateProcess(args)));
  }, 60_000);
  afterAll(() => grounds.forEach(({ base }) => rmSync(base, { recursive: true, force: true })));

  const held = (index: number): void => {
    untouched(grounds[index] as Ground);
    expect(runs[index]).toMatchObject({ code: 1 });
  };

  test('lock no state through a link', () => held(0));

  test('append to no list through a link', () => held(1));

  test('open no CA through a link', () => held(2));

  test('write nothing that root alone may write, and say as whom; what they write in the state is its owner\'s', () => {
    held(3);
    const { state, system } = grounds[3] as Ground;
    expect(runs[3]?.stderr).toContain(`${join(system, 'x.sealed')}.unfinished: may not be read or written by this user\nwardgate: as nobody, to whom ${state} belongs, and not as root`);
    const names = readdirSync(state, { recursive: true, encoding: 'utf8' });
    expect(names).toContain('audit.key');
    expect(names.filter((name) => lstatSync(join(state, name)).uid !== NOBODY)).toEqual([]);
  });

  test('read what the gateway may read, as check and upgrade do first, and no secret of root alone', () => {
    expect(runs.slice(4)).toMatchObject([{ code: 0 }, { code: 1, stdout: expect.stringContaining('"store.pass" cannot be read: permission denied') as string }]);
  });
});
