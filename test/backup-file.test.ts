import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createPrivateKey } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openBackup, sealBackup } from '../src/backup/container.ts';
import { BackupError } from '../src/backup/fault.ts';
import { lockForHolders, lockWithPassphrase, makeOwnKey, readHolder, readKeyFile, type Secret } from '../src/backup/lock.ts';
import { manifestSchema } from '../src/backup/manifest.ts';
import { planRestore } from '../src/backup/plan.ts';
import { joinShares, splitSecret } from '../src/backup/shamir.ts';
import { readTar, writeTar, type Content } from '../src/backup/tar.ts';
import { openBackupByTheBook, times } from './support/open-backup.ts';

/** What a test can afford a thousand times. */
const CHEAP = { N: 2, r: 1, p: 1 };
const MADE = '2026-11-22T12:00:00.000Z';
const PASSPHRASE: Secret = { kind: 'passphrase', passphrase: 'correct horse battery' };
const directory = mkdtempSync(join(tmpdir(), 'wardgate-backup-'));
const path = join(directory, 'one.wgb');

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function sealed(plain: Iterable<Uint8Array>, lock = (key: Buffer): object => lockWithPassphrase(key, 'correct horse battery', CHEAP)): Buffer {
  return Buffer.concat([...sealBackup(MADE, lock, plain)]);
}

function opened(octets: Uint8Array, secret = PASSPHRASE): Buffer {
  writeFileSync(path, octets);
  const file = openSync(path, 'r');
  try {
    return Buffer.concat([...openBackup(file, secret).chunks()]);
  } finally {
    closeSync(file);
  }
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'nothing was wrong';
  } catch (error) {
    return error instanceof BackupError ? error.code : String(error);
  }
}

describe('a backup file', () => {
  test('gives back what went in, at every length around a chunk', () => {
    for (const length of [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000]) {
      const plain = Buffer.alloc(length, 'wardgate');
      expect(opened(sealed([plain.subarray(0, 1_000), plain.subarray(1_000)])).equals(plain), String(length)).toBe(true);
    }
  });

  test('one flipped bit in any octet is refused', () => {
    const whole = sealed([Buffer.alloc(300, 'a doctor’s certificate')]);
    const taken = [...whole.keys()].filter((at) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      return codeOf(() => opened(changed)) === 'nothing was wrong';
    });
    expect(whole.length).toBeGreaterThan(600);
    expect(taken).toEqual([]);
  });

  test('chunks that are left out, repeated, moved, cut off or added are refused', () => {
    const whole = sealed([Buffer.alloc(4 * 65_536 + 5, 7)]);
    const start = whole.length - (4 * 65_552 + 21);
    const chunk = (index: number): Buffer => whole.subarray(start + index * 65_552, start + (index + 1) * 65_552);
    const head = whole.subarray(0, start);
    const variants = {
      'left out': [head, chunk(0), chunk(2), chunk(3), chunk(4)], repeated: [head, chunk(0), chunk(0), chunk(1), chunk(2), chunk(3), chunk(4)], moved: [head, chunk(1), chunk(0), chunk(2), chunk(3), chunk(4)],
      'cut at a chunk': [head, chunk(0), chunk(1)], 'cut within one': [head, chunk(0), chunk(1).subarray(0, 1_000)], 'cut in the header': [head.subarray(0, 100)], 'nothing behind the header': [head],
      'one octet short': [whole.subarray(0, -1)], 'one octet more': [whole, Buffer.of(0)],
    };
    expect(opened(whole).length).toBe(4 * 65_536 + 5);
    for (const [name, parts] of Object.entries(variants)) expect(codeOf(() => opened(Buffer.concat(parts))), name).toBe('damaged');
  });

  test('a wrong passphrase opens nothing, and the same one typed on another keyboard does', () => {
    const whole = sealed([Buffer.from('x')], (key) => lockWithPassphrase(key, 'Pässwörter sind gut', CHEAP));
    expect(codeOf(() => opened(whole))).toBe('wrong_secret');
    expect(opened(whole, { kind: 'passphrase', passphrase: 'Pässwörter sind gut'.normalize('NFD') }).toString()).toBe('x');
  });

  test('one that asks for gigabytes, or for hours, is refused before anything is computed', () => {
    for (const cost of [{ N: 2 ** 20, r: 8, p: 1 }, { N: 2 ** 17, r: 64, p: 1 }, { N: 2 ** 10, r: 8, p: 1_000_000 }, { N: 1_000, r: 8, p: 1 }]) {
      const whole = sealed([Buffer.from('x')], (key) => ({ ...lockWithPassphrase(key, 'correct horse battery', CHEAP), ...cost }));
      expect(codeOf(() => opened(whole)), JSON.stringify(cost)).toBe('too_costly');
    }
    const long = sealed([Buffer.from('x')]);
    long.writeUInt32BE(0xfffffff0, 17);
    expect(codeOf(() => opened(long))).toBe('damaged');
    expect(codeOf(() => opened(Buffer.from('anything else that somebody has')))).toBe('not_a_backup');
  });

  test('a document and a library are enough to open one: a passphrase at its real cost', () => {
    const plain = Buffer.alloc(150_000, 'in twenty years');
    const whole = sealed([plain], (key) => lockWithPassphrase(key, 'correct horse battery'));
    expect(JSON.parse(whole.toString('utf8', 21, 21 + whole.readUInt32BE(17)))).toMatchObject({ lock: { N: 131_072, r: 8, p: 1 } });
    expect(openBackupByTheBook(whole, { passphrase: 'correct horse battery' }).equals(plain)).toBe(true);
    expect(opened(whole).equals(plain)).toBe(true);
  });
});

describe('keys of holders', () => {
  const made = ['alice', 'bob', 'carol'].map((name) => makeOwnKey(name, `the passphrase of ${name}`, CHEAP));
  const holders = made.map(({ publicLine }, index) => readHolder(publicLine, `${index}.pub`));
  const keys = made.map(({ file }, index) => readKeyFile(file, `${index}.key`).open(`the passphrase of ${['alice', 'bob', 'carol'][index]}`));
  const some = (...indexes: readonly number[]): Secret => ({ kind: 'keys', keys: indexes.flatMap((index) => keys[index] ?? []) });
  const plain = Buffer.from('two people are needed');

  test('two of two: neither opens it alone, both do', () => {
    const whole = sealed([plain], (key) => lockForHolders(key, holders.slice(0, 2), 2));
    expect(opened(whole, some(1, 0)).equals(plain)).toBe(true);
    for (const secret of [some(0), some(1), some(0, 0), some(2), some(0, 2), PASSPHRASE]) expect(codeOf(() => opened(whole, secret))).toMatch(/too_few_keys|wrong_secret/);
  });

  test('two of three: any two open it, and the document says how', () => {
    const whole = sealed([plain], (key) => lockForHolders(key, holders, 2));
    for (const [one = 0, other = 0] of [[0, 1], [2, 0], [1, 2]]) {
      expect(opened(whole, some(one, other)).equals(plain)).toBe(true);
      const texts = [one, other].map((index) => ({ text: made[index]?.file ?? '', passphrase: `the passphrase of ${['alice', 'bob', 'carol'][index]}` }));
      expect(openBackupByTheBook(whole, { keys: texts }).equals(plain)).toBe(true);
    }
    expect(codeOf(() => opened(whole, some(1)))).toBe('too_few_keys');
  });

  test('one flipped bit in any octet is refused', () => {
    const whole = sealed([plain], (key) => lockForHolders(key, holders.slice(0, 2), 2));
    const taken = [...whole.keys()].filter((at) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      return codeOf(() => opened(changed, some(0, 1))) === 'nothing was wrong';
    });
    expect(taken).toEqual([]);
  });

  test('a private key opens with its passphrase alone, and not with another public key put beside it', () => {
    const file = made[0]?.file ?? '';
    expect(codeOf(() => readKeyFile(file, 'a.key').open('another passphrase'))).toBe('wrong_secret');
    expect(codeOf(() => readKeyFile(file.replace(/"public": "[^"]+"/, `"public": "${holders[1]?.key.toString('base64')}"`), 'a.key').open('the passphrase of alice'))).toBe('wrong_secret');
    expect(codeOf(() => readKeyFile('{}', 'a.key'))).toBe('unreadable');
    expect(codeOf(() => readHolder('ssh-ed25519 AAAA alice', 'a.pub'))).toBe('unreadable');
    expect(createPrivateKey(keys[0]?.privateKey.export({ type: 'pkcs8', format: 'pem' }) ?? '').asymmetricKeyType).toBe('x25519');
  });
});

describe("Shamir's scheme", () => {
  const secret = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

  test('any so many shares give the secret back, and fewer give something else', () => {
    for (const [count, need] of [[1, 1], [2, 2], [3, 2], [5, 3], [9, 9], [255, 4]] as const) {
      const shares = splitSecret(secret, count, need);
      for (let start = 0; start < Math.min(count, 20); start++) {
        const chosen = Array.from({ length: need }, (_, index) => shares[(start + index * (count > need ? 2 : 1)) % count]).flatMap((share) => share ?? []);
        if (new Set(chosen.map(({ x }) => x)).size === need) expect(Buffer.from(joinShares(chosen)).equals(secret), `${need} of ${count}`).toBe(true);
        if (need > 1) expect(Buffer.from(joinShares(chosen.slice(1))).equals(secret)).toBe(false);
      }
    }
  });

  test('its numbers are those of the field: shares of a known polynomial, worked out by long multiplication', () => {
    // FIPS 197 §4.2: {57} * {83} = {c1}.
    expect(times(0x57, 0x83)).toBe(0xc1);
    const [slope, curve] = [Buffer.from('f0e1d2c3b4a5968778695a4b3c2d1e0f', 'hex'), Buffer.from('0123456789abcdef0123456789abcdef', 'hex')];
    const coefficients = [slope, curve];
    const shares = splitSecret(secret, 255, 3, () => coefficients.shift() ?? Buffer.alloc(0));
    for (const { x, values } of shares) {
      expect(Buffer.from(values).equals(Buffer.from(secret.map((octet, at) => octet ^ times(slope[at] ?? 0, x) ^ times(curve[at] ?? 0, times(x, x))))), String(x)).toBe(true);
    }
  });

  test('the same share twice, one at 0, and shares of different lengths are refused', () => {
    const [one, two] = splitSecret(secret, 2, 2);
    if (one === undefined || two === undefined) throw new Error('two shares');
    for (const shares of [[], [one, one], [{ ...one, x: 0 }, two], [one, { ...two, values: two.values.subarray(1) }]]) expect(() => joinShares(shares)).toThrow(RangeError);
    expect(() => splitSecret(secret, 2, 3)).toThrow(RangeError);
  });
});

describe('the archive inside', () => {
  const file = (name: string, text: string): Content => ({ name, kind: 'file', mode: 0o640, uid: 1000, gid: 1000, mtime: 1_700_000_000, size: Buffer.byteLength(text), content: [Buffer.from(text)] });
  const read = (tar: Buffer): readonly (readonly [string, string])[] => {
    const found: (readonly [string, string])[] = [];
    readTar([tar.subarray(0, 700), tar.subarray(700)], ({ name }) => {
      const parts: Buffer[] = [];
      return { take: (piece) => void parts.push(piece), end: () => void found.push([name, Buffer.concat(parts).toString()]) };
    });
    return found;
  };

  test('is one that tar reads, long and foreign names included', () => {
    const members = [file('etc/wardgate/wardgate.yaml', 'state: ./state\n'), file(`etc/${'long/'.repeat(40)}name.pem`, 'x'), file('etc/wardgate/Ärzte/王.pem', 'y'), file('empty', '')];
    const tar = Buffer.concat([...writeTar(members)]);
    expect(read(tar)).toEqual([['etc/wardgate/wardgate.yaml', 'state: ./state\n'], [`etc/${'long/'.repeat(40)}name.pem`, 'x'], ['etc/wardgate/Ärzte/王.pem', 'y'], ['empty', '']]);
    const listed = execFileSync('tar', ['--quoting-style=literal', '-tvf', '-'], { input: tar, encoding: 'utf8', env: { LC_ALL: 'C.UTF-8', PATH: process.env['PATH'] ?? '' } });
    expect(listed).toContain('etc/wardgate/Ärzte/王.pem');
    expect(listed.split('\n')[0]).toMatch(/^-rw-r----- 1000\/1000 +15 .* etc\/wardgate\/wardgate\.yaml$/);
  });

  test('names that lead out of it, links and devices are refused', () => {
    for (const name of ['../up', 'etc/../../up', '/etc/passwd', 'etc//passwd', './x', 'x/.', '']) expect(codeOf(() => read(Buffer.concat([...writeTar([file(name, 'x')])]))), name).toBe('unsafe_path');
    for (const type of ['1', '2', '3', '4', '6']) {
      const tar = Buffer.concat([...writeTar([file('x', '')])]);
      tar.write(type, 156, 'latin1');
      tar.write(`${tar.subarray(0, 512).reduce((sum, octet, at) => sum + (at >= 148 && at < 156 ? 32 : octet), 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
      expect(codeOf(() => read(tar)), type).toBe('unsafe_path');
    }
    expect(codeOf(() => read(Buffer.concat([...writeTar([file('x', 'y')]), Buffer.from('behind it')])))).toBe('damaged');
  });
});

test('a backup that calls a directory of the system its own is refused: what is not in it would be moved away', () => {
  const entry = { name: 'etc/wardgate/wardgate.yaml', kind: 'file', mode: 0o600, uid: 0, gid: 0, mtime: 0, size: 0, sha256: '' } as const;
  const manifest = { format: 'wardgate-backup-contents', version: 1, made: MADE, host: 'h', wardgate: '0', configuration: '/etc/wardgate/wardgate.yaml', state: '/var/lib/wardgate', audit: { directory: '/var/lib/wardgate/audit', segments: false }, socket: '/run/wardgate.sock', outside: [] as string[] } as const;
  for (const owned of ['/', '/etc', '/var/lib', '/home', '/tmp']) expect(codeOf(() => planRestore({ manifest: { ...manifest, owned: [owned] }, entries: [entry] }, '', 'x')), owned).toBe('unsafe_path');
  for (const state of ['/var/../etc', '/var//lib', '/etc/', 'etc', '/.']) expect(manifestSchema.safeParse({ ...manifest, state, owned: [] }).success, state).toBe(false);
});
