import { spawn } from 'node:child_process';
import { chmodSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { foundCa } from '../src/ca/found.ts';
import { IssueRefused } from '../src/ca/limits.ts';
import { openOffice, OfficeError, type CaEntry } from '../src/ca/office.ts';
import { openRoot } from '../src/ca/root.ts';
import { KEY_COST, order, PASSPHRASE, ROOT_PASSPHRASE, testCa, type TestCa } from './support/office.ts';

const SOURCE = fileURLToPath(new URL('../src/ca/office.ts', import.meta.url));
let ca: TestCa;
let issued: CaEntry;

beforeAll(async () => {
  ca = await testCa();
  const office = ca.open();
  const { id } = office.submit(order());
  ca.approve(office, id);
  ({ entry: issued } = await office.issue(id, { who: 'operator' }));
  office.deliver(id, { who: 'operator', to: 'Dr Chen', how: 'in person' });
  office.close();
});
afterAll(() => ca.remove());

/** Runs a program with the office open as `office`, in a process of its own; resolves with what it printed. */
function elsewhere(directory: string, program: string): Promise<{ readonly code: number | null; readonly signal: string | null; readonly out: string }> {
  const text = `import { openOffice } from ${JSON.stringify(SOURCE)};\nconst office = openOffice(${JSON.stringify({ directory, passphrase: PASSPHRASE })});\n${program}\noffice.close();`;
  return new Promise((done) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.on('close', (code, signal) => done({ code, signal, out: out.trim() }));
  });
}

function codeOf(act: () => unknown): string {
  try {
    act();
    return 'done';
  } catch (error) {
    return error instanceof OfficeError ? error.code : String(error);
  }
}

describe('whoever changes what is on record is found out', () => {
  /** A copy whose database somebody has changed who knows how: the triggers are gone first. */
  function faultsAfter(change: string): readonly string[] {
    const directory = ca.path('tampered');
    rmSync(directory, { recursive: true, force: true });
    cpSync(ca.directory, directory, { recursive: true });
    chmodSync(directory, 0o700);
    const database = new DatabaseSync(join(directory, 'ca.db'));
    database.exec(`DROP TRIGGER event_kept; DROP TRIGGER event_stays; PRAGMA foreign_keys = OFF; ${change}`);
    database.close();
    const office = openOffice({ directory });
    try {
      return office.faults();
    } finally {
      office.close();
    }
  }
  const request = (): string => `'${issued.request}'`;
  const serial = (): string => `'${issued.serial}'`;

  test('an untouched copy is whole', () => {
    expect(faultsAfter('')).toEqual([]);
  });

  test.each<[string, () => string, RegExp]>([
    ['another word in an event', () => "UPDATE event SET line = replace(line, 'in person', 'by courier') WHERE line LIKE '%in person%'", /its hash is not that/],
    ['an event that is gone', () => 'DELETE FROM event WHERE seq = 12', /^event 12: missing/],
    ['an event in the place of another', () => 'UPDATE event SET seq = 1000 + seq WHERE seq > 20', /missing/],
    ['a state without its step', () => `UPDATE request SET state = 'confirmed' WHERE id = ${request()}`, /the database says confirmed, the event log delivered/],
    ['a request that asks for something else than was submitted', () => `UPDATE request SET body = json_set(body, '$.name', 'admin') WHERE id = ${request()}`, /is not what was submitted/],
    ['a certificate that was never issued', () => `DELETE FROM certificate WHERE serial = ${serial()}`, /is not in the database/],
    ['another certificate', () => `UPDATE certificate SET der = zeroblob(100) WHERE serial = ${serial()}`, /the certificate in the database was changed|asn1|error/i],
    ['a revocation without its step', () => `UPDATE certificate SET revoked_at = 1, reason = 'keyCompromise' WHERE serial = ${serial()}`, /the database says that it was revoked \(keyCompromise\), the event log nothing/],
    ['a certificate that ends later', () => `UPDATE certificate SET not_after = not_after + 1000 WHERE serial = ${serial()}`, /ends at another time/],
  ])('%s', (_, change, expected) => {
    expect(faultsAfter(change()).join('\n')).toMatch(expected);
  });

  test('a whole log that was written anew, since the issuing key has not signed it', () => {
    const faults = faultsAfter("UPDATE event SET seal = (SELECT seal FROM event WHERE seal IS NOT NULL ORDER BY seq DESC LIMIT 1) WHERE seq = (SELECT min(seq) FROM event WHERE seal IS NOT NULL)");
    expect(faults).toEqual([expect.stringMatching(/the issuing key has not signed this/)]);
  });

  test('a whole log without any signature of the issuing key, which has signed what it did', () => {
    expect(faultsAfter('UPDATE event SET seal = NULL, sealer = NULL')).toEqual([expect.stringMatching(/^event \d+: \w+ without the signature of the issuing key/)]);
  });

  test('the log refuses changes by itself', () => {
    const database = new DatabaseSync(join(ca.directory, 'ca.db'));
    try {
      expect(() => database.exec('UPDATE event SET line = line WHERE seq = 1')).toThrow('only ever added to');
      expect(() => database.exec('DELETE FROM event')).toThrow('only ever added to');
    } finally {
      database.close();
    }
  });

  test('a certificate file or a key file of another CA', async () => {
    const directory = ca.path('files');
    cpSync(ca.directory, directory, { recursive: true });
    chmodSync(directory, 0o700);
    writeFileSync(join(directory, 'issuing-1.pem'), ca.of('Dr Wang').entry.certificate);
    writeFileSync(join(directory, 'stray.key'), 'x');
    chmodSync(join(directory, 'issuing-1.key'), 0o644);
    const office = openOffice({ directory });
    expect(office.faults()).toEqual([expect.stringContaining('is open to others'), expect.stringContaining('is not the certificate of issuing CA 1'), expect.stringContaining('a key that belongs to no issuing CA')]);
    office.close();
    expect(codeOf(() => openOffice({ directory, passphrase: PASSPHRASE }))).toBe('open_to_others');
  });

  test('a line of the root\'s log', () => {
    const directory = ca.path('root-copy');
    cpSync(ca.rootDirectory, directory, { recursive: true });
    const file = join(directory, 'root.log');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"who":"founder"', '"who":"somebody"'));
    expect(codeOf(() => openRoot({ directory, passphrase: ROOT_PASSPHRASE }))).toBe('tampered');
  });
});

describe('opening', () => {
  test('needs the right passphrase, a directory of one\'s own and an encrypted key', () => {
    expect(codeOf(() => openOffice({ directory: ca.directory, passphrase: 'a guess at the passphrase' }))).toBe('wrong_passphrase');
    expect(codeOf(() => openRoot({ directory: ca.rootDirectory, passphrase: PASSPHRASE }))).toBe('wrong_passphrase');
    expect(codeOf(() => openOffice({ directory: ca.path('nowhere') }))).toBe('not_a_ca');
    const directory = ca.path('open');
    cpSync(ca.directory, directory, { recursive: true });
    chmodSync(directory, 0o755);
    expect(codeOf(() => openOffice({ directory }))).toBe('open_to_others');
    chmodSync(directory, 0o700);
    writeFileSync(join(directory, 'issuing-1.key'), ca.of('Dr Wang').key);
    expect(codeOf(() => openOffice({ directory, passphrase: PASSPHRASE }))).toBe('tampered');
    writeFileSync(join(directory, 'ca.db'), 'this is no database, whatever its name says it is');
    rmSync(join(directory, 'ca.db-wal'), { force: true });
    expect(codeOf(() => openOffice({ directory }))).toBe('not_a_ca');
  });

  test('keys are encrypted with scrypt at a cost that is worth the name, and none lies beside', async () => {
    const { encryptKey, KEY_COST: cost } = await import('../src/ca/key-file.ts');
    expect(cost.N * cost.r * 128).toBe(16 * 1024 * 1024);
    expect(cost.p).toBeGreaterThanOrEqual(5);
    const { generateKey } = await import('../src/ca/keys.ts');
    await expect(encryptKey((await generateKey('ec')).privateKey, 'short', KEY_COST)).rejects.toThrow('too short');
    expect(readFileSync(join(ca.directory, 'issuing-1.key'), 'utf8')).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  });
});

describe('making a CA', () => {
  test.each<[string, object, RegExp]>([
    ['RSA-1024', { keyType: 'rsa1024' }, /RSA of 1024 bits; expected 2048/],
    ['SHA-1', { signatureHash: 'sha1' }, /sha1; expected sha256/],
    ['5,000 days', { validity: { leaf: 5000 * 86_400_000 } }, /5000 days; expected at most 731/],
  ])('with %s is refused with the reason, and nothing is written', async (_, change, expected) => {
    const directory = ca.path('weak');
    const refused = foundCa({ directory, rootDirectory: `${directory}-root`, organization: 'Hospital', domain: 'hospital.test', passphrase: PASSPHRASE, rootPassphrase: ROOT_PASSPHRASE, who: 'founder', certificates: [{ profile: 'doctor', name: 'Dr Wang' }], ...change });
    await expect(refused).rejects.toThrow(expected);
    await expect(refused).rejects.toBeInstanceOf(IssueRefused);
    expect(() => readFileSync(directory)).toThrow('ENOENT');
    expect(() => readFileSync(`${directory}-root`)).toThrow('ENOENT');
  });

  test('is never done over something else', async () => {
    await expect(foundCa({ directory: ca.directory, rootDirectory: ca.path('r'), organization: 'H', domain: 'h.test', passphrase: PASSPHRASE, rootPassphrase: ROOT_PASSPHRASE, who: 'x', certificates: [] })).rejects.toThrow('is not empty');
  });
});

describe('a kill between the signing and its record', () => {
  test('leaves a serial number that is never used again and goes to the CRL, and a request that can be issued', async () => {
    let now = Date.now();
    const office = ca.open(() => now);
    try {
      const { id } = office.submit(order({ name: 'Dr Killed' }));
      ca.approve(office, id);
      const { signal } = await elsewhere(ca.directory, `void office.issue(${JSON.stringify(id)}, { who: 'killed' }); process.kill(process.pid, 'SIGKILL'); await new Promise(() => setInterval(() => 0, 1000));`);
      expect(signal).toBe('SIGKILL');
      expect(office.request(id).state).toBe('issuing');
      const lost = office.events(id).at(-1)?.serial ?? '';
      expect(office.status(lost)).toEqual({ kind: 'unknown' });
      await expect(office.issue(id, { who: 'operator' })).rejects.toThrow('it is being signed right now');
      now += 90_000;
      const { entry } = await office.issue(id, { who: 'operator' });
      expect(entry.serial).not.toBe(lost);
      expect(office.status(lost)).toMatchObject({ kind: 'revoked' });
      expect((await office.crl()).der.includes(Buffer.from(lost, 'hex'))).toBe(true);
      expect(office.events(id).map(({ step }) => step)).toEqual(['submit', 'approve', 'reserve', 'abandon', 'reserve', 'issue']);
      expect(office.faults()).toEqual([]);
    } finally {
      office.close();
    }
  });
});

describe('two processes at once', () => {
  test('issue one request once, and their events are one chain', async () => {
    const office = ca.open();
    try {
      const { id } = office.submit(order({ name: 'Dr Twice' }));
      ca.approve(office, id);
      const program = `
        const outcome = await office.issue(${JSON.stringify(id)}, { who: 'one of two' }).then(({ entry }) => entry.serial, (error) => error.code);
        for (let n = 0; n < 10; n++) office.submit({ profile: 'doctor', name: 'Dr ' + process.pid + ' ' + n, key: { kind: 'made' }, applicant: { name: 'Ward 3' }, purpose: 'both', system: 'records' });
        process.stdout.write(outcome);`;
      const before = office.requests().length;
      const both = await Promise.all([elsewhere(ca.directory, program), elsewhere(ca.directory, program)]);
      expect(both.map(({ code }) => code)).toEqual([0, 0]);
      const serials = both.map(({ out }) => out).filter((out) => /^[0-9a-f]{32}$/.test(out));
      expect(serials).toEqual([office.entry(id).serial]);
      expect(both.map(({ out }) => out)).toContainEqual(expect.stringMatching(/^(busy|step)$/));
      expect(office.requests()).toHaveLength(before + 20);
      expect(office.faults()).toEqual([]);
    } finally {
      office.close();
    }
  });
});
