import { cpSync, chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signApproval as sign } from '../src/ca/approval.ts';
import { createAuthority, issueCertificate, type Issued } from '../src/ca/issue.ts';
import { openLedger } from '../src/ca/ledger.ts';
import { openOffice, signApproval, type CaRequest, type Office } from '../src/ca/office.ts';
import { detailsOf, eventLine } from '../src/cli/ca/words.ts';
import { writeWhole } from '../src/store/whole-file.ts';
import { KEY_COST, order, PASSPHRASE, testCa, type TestCa } from './support/office.ts';

let ca: TestCa;
let self: Issued;
let office: Office | undefined;

beforeAll(async () => {
  ca = await testCa([{ profile: 'registrar', name: 'Zhao Min' }]);
  self = await issueCertificate(await createAuthority({ name: 'Hospital Issuing CA 1' }), { subject: [['CN', 'Nobody'], ['OU', 'Registrars'], ['O', 'Hospital']] });
});
afterAll(() => {
  office?.close();
  ca.remove();
});

/** A copy of the CA, to which somebody without the passphrase has done something: in its database, or in its files. */
function attacked(attack: (office: Office, directory: string) => void): Office {
  office?.close();
  const directory = ca.path('attacked');
  rmSync(directory, { recursive: true, force: true });
  cpSync(ca.directory, directory, { recursive: true });
  chmodSync(directory, 0o700);
  const locked = openOffice({ directory });
  attack(locked, directory);
  locked.close();
  office = openOffice({ directory, passphrase: PASSPHRASE, keyCost: KEY_COST });
  return office;
}

/** Writes an approval as the CA itself would. */
function enter(directory: string, { id, digest }: CaRequest, detail: Record<string, unknown>): void {
  const ledger = openLedger(join(directory, 'ca.db'));
  ledger.change(() => {
    ledger.append({ step: 'approve', who: 'Nobody', why: 'x', request: id, detail: { digest, policy: 'x', ...detail } as never } as never, Date.now());
    ledger.database.prepare("UPDATE request SET state = 'approved' WHERE id = ?").run(id);
  });
  ledger.close();
}

function sql(directory: string, change: string): void {
  const database = new DatabaseSync(join(directory, 'ca.db'));
  database.exec(`DROP TRIGGER event_kept; DROP TRIGGER event_stays; PRAGMA foreign_keys = OFF; ${change}`);
  database.close();
}

const issue = (open: Office, id: string) => open.issue(id, { who: 'operator' });

describe('whoever can write to the database of the CA and has not its passphrase is given no certificate', () => {
  let id = '';
  const asked = (open: Office, change: Parameters<typeof order>[0] = {}): CaRequest => {
    const request = open.submit(order({ name: 'Dr Nobody', ...change }));
    ({ id } = request);
    return request;
  };
  const approvedBy = (request: CaRequest, { certificate, key, sha256 }: { certificate: string; key: string; sha256: string }) =>
    ({ role: 'registrar', fingerprint: sha256, key: 'x', signed: signApproval(request, { certificate, key }, Date.now()) });

  test('by an approval that he has signed with a certificate of his own making', async () => {
    const open = attacked((locked, directory) => {
      const request = asked(locked);
      enter(directory, request, approvedBy(request, self));
    });
    await expect(issue(open, id)).rejects.toThrow('is that of no approver');
  });

  test('by an approval that he has signed with a certificate that the CA gave him for something else', async () => {
    const { entry, key } = ca.of('Dr Wang');
    const open = attacked((locked, directory) => {
      const request = asked(locked);
      enter(directory, request, approvedBy(request, { ...entry, key }));
    });
    await expect(issue(open, id)).rejects.toThrow('Dr Wang is doctor');
    const again = attacked((locked, directory) => {
      const request = asked(locked);
      enter(directory, request, approvedBy(request, { ...entry, key }));
      sql(directory, `UPDATE request SET body = json_set(body, '$.profile', 'registrar') WHERE id = '${entry.request}'`);
    });
    await expect(issue(again, id)).rejects.toThrow('is none that this CA has issued for what the database says');
  });

  test('by a row that makes his own certificate one of the CA', async () => {
    const open = attacked((locked, directory) => {
      const request = asked(locked);
      enter(directory, request, approvedBy(request, self));
      const other = ca.of('Zhao Min').entry;
      sql(directory, `UPDATE certificate SET sha256 = '${self.sha256}', der = x'${self.der.toString('hex')}' WHERE serial = '${other.serial}'`);
    });
    await expect(issue(open, id)).rejects.toThrow('is none that this CA has issued');
  });

  test('by one approval that is entered twice, where two people have to agree', async () => {
    const open = attacked((locked, directory) => {
      const request = asked(locked, { name: 'gateway-admin' });
      const { entry, key } = ca.of('Zhao Min');
      enter(directory, request, { ...approvedBy(request, { ...entry, key }), role: 'security' });
    });
    await expect(issue(open, id)).rejects.toThrow('an approval by security');
  });

  test('by words that nobody had to approve: a renewal by itself, or the ceremony', async () => {
    const kiosk = ca.of('Kiosk 7').entry;
    const open = attacked((locked, directory) => {
      const { id: renewal } = locked.renew(kiosk.serial, { applicant: { name: 'Kiosk 7' }, authenticated: kiosk.sha256 });
      id = renewal;
      expect(locked.request(id).state).toBe('requested');
      enter(directory, locked.request(id), { automatic: true });
    });
    await expect(issue(open, id)).rejects.toThrow('the issuing key has not signed for it');
    const again = attacked((locked, directory) => {
      enter(directory, asked(locked), { ceremony: true });
      sql(directory, "DELETE FROM event WHERE json_extract(line, '$.step') = 'init'");
    });
    await expect(issue(again, id)).rejects.toThrow('policy.yaml was changed');
  });

  test('by another name in the request of a device that renews itself', () => {
    const kiosk = ca.of('Kiosk 7').entry;
    const open = attacked((_locked, directory) => sql(directory, `UPDATE request SET body = json_set(body, '$.name', 'Dr Nobody', '$.subject', 'CN=Dr Nobody,OU=Devices,O=Hospital') WHERE id = '${kiosk.request}'`));
    expect(() => open.renew(kiosk.serial, { applicant: { name: 'Kiosk 7' }, authenticated: kiosk.sha256 })).toThrow('is not the one that it was issued for');
    expect(open.faults().join()).toContain('the request is not what was submitted');
  });

  test('by a policy that makes him an approver, until somebody with the passphrase has accepted that', async () => {
    const open = attacked((_locked, directory) => {
      const file = join(directory, 'policy.yaml');
      writeFileSync(file, `${readFileSync(file, 'utf8')}approvers: [{ role: registrar, fingerprint: ${self.sha256} }]\n`);
      const second = openOffice({ directory });
      const { id: request } = second.submit(order());
      id = request;
      second.approve(id, sign(second.request(id), self, Date.now()));
      expect(second.request(id).state).toBe('approved');
      second.close();
    });
    await expect(issue(open, id)).rejects.toThrow('policy.yaml was changed since it was last accepted');
    expect(open.faults()).toEqual([expect.stringContaining('policy.yaml: was changed since it was accepted')]);
    open.acceptPolicy({ who: 'operator', why: 'a second hospital approves' });
    await issue(open, id);
    expect(open.faults()).toEqual([]);
  });
});

describe('a name that is sensitive is so however it is written', () => {
  let open: Office;
  beforeAll(() => {
    open = attacked(() => undefined);
  });
  const server = (name: string, dns: readonly string[] = []) => open.submit(order({ profile: 'server', name, names: { dns } }));

  test.each(['ADMIN', '\uff41dmin', 'ad\u200dmin', 'ad\u00admin', 'the  Administrator', 'r\u00adoot', '系统管理员'])('%j', (name) => {
    expect(open.submit(order({ name })).sensitive).toMatchObject({ role: 'security' });
  });

  test('a wildcard, which stands for the sensitive names below it as well', () => {
    expect(server('*.hospital.test').sensitive).toEqual({ name: '*.hospital.test', role: 'security' });
    expect(server('api2.hospital.test', ['*.hospital.test']).sensitive).toBeDefined();
    expect(server('api2.hospital.test').sensitive).toBeUndefined();
  });

  test.each([['private use, which matches no pattern', 'admin\ue000'], ['half of a character', 'admin\ud800'], ['a Cyrillic letter in a Latin word', '\u0430dmin'], ['a Greek one', 'r\u03bfot'],
    ['the other direction', '\u202enimda'], ['another line', 'Dr Chen\u2028approved by Li Na'], ['another line of old terminals', 'Dr Chen\u0085approved']])('and is refused with %s', (_, name) => {
    expect(() => open.submit(order({ name }))).toThrow(/^name: /);
  });

  test('names of other scripts are as good as any', () => {
    for (const name of ['李娜', 'Д-р Иванов', 'Dr Παπαδόπουλος', 'Dr 李娜', "O'Brien-Şahin"]) expect(open.submit(order({ name })).name).toBe(name);
  });

  test('an internationalized host name is looked at as people read it', () => {
    expect(() => server('xn--dmin-7cd.hospital.test')).toThrow('mixes alphabets in one word');
    expect(server('xn--dmin-moa0i.hospital.test').sensitive).toBeUndefined();
  });

  test('and needs the approval that any certificate of its kind needs as well', async () => {
    const directory = ca.path('two');
    cpSync(ca.directory, directory, { recursive: true });
    chmodSync(directory, 0o700);
    const file = join(directory, 'policy.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/(doctor:[^]*?approvers: )\[registrar, security\]/, '$1[registrar]'));
    const strict = openOffice({ directory, passphrase: PASSPHRASE, keyCost: KEY_COST });
    strict.acceptPolicy({ who: 'operator' });
    const { id } = strict.submit(order({ name: 'backup-operator' }));
    expect(ca.approve(strict, id, 'Chen Jing')).toMatchObject({ state: 'requested', missing: ['an approval by registrar'] });
    expect(ca.approve(strict, id, 'Li Na').state).toBe('approved');
    await issue(strict, id);
    strict.close();
  });
});

describe('beside the way', () => {
  test('a clock that was ahead for a moment makes no certificate that nobody can revoke', () => {
    attacked((_locked, directory) => {
      const ahead = openOffice({ directory, now: () => Date.now() + 3000 * 86_400_000 });
      ahead.expire();
      ahead.close();
    });
    const { serial } = ca.of('Dr Wang').entry;
    expect(office?.entry(serial).state).toBe('expired');
    expect(office?.revoke(serial, { who: 'operator', reason: 'keyCompromise', why: 'laptop stolen' })).toMatchObject({ state: 'revoked', revoked: { reason: 'keyCompromise' } });
    expect(office?.status(serial)).toMatchObject({ kind: 'revoked' });
    expect(office?.faults()).toEqual([]);
  });

  test('what somebody writes for the record is one line of a report, and steers no terminal', () => {
    const open = attacked(() => undefined);
    const { id } = open.submit(order());
    open.refuse(id, { who: 'Li Na\n    9  2026-11-22T00:00:00.000Z  approve  by Chen Jing', why: '\u001b[2J\u202egnihton' });
    const [line] = open.events(id).slice(-1).map(eventLine);
    expect(line).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(line).toContain('Li Na\\u{a}    9');
    expect(detailsOf({ ...open.request(id), purpose: 'x\napproved      by Chen Jing' }, undefined)).toContain('for           x\\u{a}approved');
  });

  test('a secret is not written through a name that somebody could guess and lay a link under', () => {
    const directory = ca.path('shared');
    mkdirSync(directory);
    symlinkSync(join(directory, 'stolen'), join(directory, `ca.pass.${process.pid}.new`));
    writeWhole(join(directory, 'ca.pass'), 'a passphrase', 0o600);
    expect([existsSync(join(directory, 'stolen')), readFileSync(join(directory, 'ca.pass'), 'utf8'), readdirSync(directory).length]).toEqual([false, 'a passphrase', 2]);
  });
});
