import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sequence } from '../src/ca/der.ts';
import { subjectAltName } from '../src/ca/extensions.ts';
import { generateKey } from '../src/ca/keys.ts';
import { encodeName } from '../src/ca/names.ts';
import { signApproval } from '../src/ca/office.ts';
import { createRequest } from '../src/ca/request.ts';
import { enrolCommand } from '../src/cli/renew/enrol.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate } from './support/command.ts';
import { startEst, type TestEst } from './support/est.ts';
import { ask, type Reply } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const HOUR = 3_600_000;

let pki: TestPki;
let ca: TestCa;
let est: TestEst;
let now = Date.now();
let number = 0;

beforeAll(async () => {
  pki = await testPki();
  ca = await testCa(['registrar:Li Na', 'security:Chen Jing'], { now: () => now });
  est = await startEst(pki, ca, {
    now: () => now, trust: pki.backendCa.certificate, gateways: ['gateway.internal'],
    routes: `
  - { name: enrol, match: { path: /.well-known/est/simpleenroll, methods: [POST] }, allow: [public], upstream: ca, limits: { body: 64KiB } }
  - { name: cacerts, match: { path: /.well-known/est/cacerts, methods: [GET] }, allow: [public], upstream: ca }
  - { name: est, match: { path: /.well-known/est/* }, allow: [device], upstream: ca, limits: { body: 64KiB } }`,
  });
});
afterAll(() => est.stop());

interface Code {
  readonly id: string;
  readonly code: string;
  readonly name: string;
}

async function codeOf(...more: readonly string[]): Promise<Code> {
  number += 1;
  const name = `kiosk-${number}.hospital.test`;
  const { code, stdout, stderr } = await wardgate(['ca', 'code', '--dir', ca.directory, '--profile', 'device', '--name', name, '--id', name, '--who', 'Zhang', '--json', '-c', '/nowhere.yaml', ...more]);
  expect([code, stderr]).toEqual([0, '']);
  return { ...JSON.parse(stdout) as { id: string; code: string }, name };
}

function approve(id: string): void {
  const approver = ca.first.get('Li Na');
  ca.office.approve(id, signApproval(ca.office.request(id), { certificate: approver?.entry.certificate as string, key: approver?.key as string }, now));
}

async function approved(): Promise<Code> {
  const code = await codeOf();
  approve(code.id);
  return code;
}

const requestFor = async (parts: { readonly key?: KeyObject; readonly subject?: Uint8Array; readonly dns?: string; readonly breakSignature?: boolean } = {}): Promise<Buffer> =>
  createRequest(parts.key ?? (await generateKey('ec')).privateKey, {
    subject: parts.subject ?? sequence(), ...(parts.dns === undefined ? {} : { extensions: [subjectAltName({ dns: parts.dns }, false)] }), ...(parts.breakSignature === true ? { breakSignature: true } : {}),
  });
const basic = (name: string, code: string): string => `Basic ${Buffer.from(`${name}:${code}`).toString('base64')}`;
const send = (authorization: string | undefined, body: string, client?: Issued): Promise<Reply> =>
  ask(pki, est.gateway.port, '/.well-known/est/simpleenroll', { method: 'POST', body, headers: { 'content-type': 'application/pkcs10', ...(authorization === undefined ? {} : { authorization }) }, ...(client === undefined ? {} : { client }) });
const enroll = ({ name, code }: Pick<Code, 'name' | 'code'>, csr: Buffer): Promise<Reply> => send(basic(name, code), csr.toString('base64'));
const issuedIn = (reply: Reply): Certificate => readBundle(Buffer.from(reply.body.toString(), 'base64'), 5)[0] as Certificate;
const answered = (reply: Reply): [number, string] => [reply.status, reply.body.toString()];

describe('a device without a certificate', () => {
  test('waits until somebody has approved the request of its code, and then has a certificate for its key and the approved names', async () => {
    const code = await codeOf();
    const csr = await requestFor();
    const waiting = await enroll(code, csr);
    expect([waiting.status, waiting.headers['retry-after']]).toEqual([202, '300']);
    expect(ca.office.request(code.id).state).toBe('requested');
    approve(code.id);
    const reply = await enroll(code, csr);
    expect([reply.status, reply.headers['content-type']]).toEqual([200, 'application/pkcs7-mime; smime-type=certs-only']);
    const certificate = issuedIn(reply);
    expect(ca.office.entry(certificate.serial)).toMatchObject({ request: code.id, state: 'delivered', name: code.name, names: { dns: [code.name] } });
    expect(ca.office.events(code.id).map(({ step, who }) => [step, who])).toEqual([['submit', 'Zhang'], ['approve', 'Li Na'], ['reserve', 'EST'], ['issue', 'EST'], ['deliver', 'EST']]);
    expect(ca.office.faults()).toEqual([]);
  });

  test('has the same certificate for the same key when the answer got lost, for an hour', async () => {
    const code = await approved();
    const csr = await requestFor();
    const first = issuedIn(await enroll(code, csr));
    expect(issuedIn(await enroll(code, csr)).serial).toBe(first.serial);
    now += HOUR + 1000;
    try {
      expect(answered(await enroll(code, csr))).toEqual([403, expect.stringContaining('used up')]);
    } finally {
      now -= HOUR + 1000;
    }
  });

  test('is served by `wardgate enrol`, which checks the answer against a root of its own, and goes on with `wardgate renew`', async () => {
    const code = await codeOf();
    const directory = await mkdtemp(join(est.gateway.directory, 'enrol-'));
    const at = (name: string): string => join(directory, name);
    writeFileSync(at('code'), `${code.code}\n`, { mode: 0o600 });
    const args = ['enrol', '--est', `https://localhost:${est.gateway.port}`, '--name', code.name, '--code-file', at('code'), '--cert', at('kiosk.pem'), '--key', at('kiosk.key'), '--trust', est.gateway.path('root.pem')];
    writeFileSync(at('empty'), '', { mode: 0o600 });
    expect((await wardgate(args.map((one) => (one === at('code') ? at('empty') : one)))).stderr).toContain(`${at('empty')} holds no enrolment code`);
    const own = ['--root', est.gateway.path('ca-root.pem')];
    expect(await wardgate([...args, ...own])).toMatchObject({ code: 1, stderr: expect.stringContaining('nobody has approved') });
    expect(existsSync(at('kiosk.pem'))).toBe(false);
    approve(code.id);
    expect(await wardgate(args)).toMatchObject({ code: 3, stderr: expect.stringContaining('no valid path to the root') });
    expect(existsSync(at('kiosk.pem'))).toBe(false);
    expect(await wardgate([...args, ...own])).toMatchObject({ code: 0, stdout: expect.stringContaining(`CN=${code.name}`) });
    const certificate = parseCertificate(readBundle(readFileSync(at('kiosk.pem')), 2)[0]?.der as Uint8Array);
    expect(ca.office.entry(certificate.serial)).toMatchObject({ request: code.id, state: 'delivered' });
    expect(await wardgate([...args, ...own])).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing is written over') });
    expect(await wardgate(['renew', '--est', `https://localhost:${est.gateway.port}`, '--cert', at('kiosk.pem'), '--key', at('kiosk.key'), '--trust', est.gateway.path('root.pem'), '--overlap', '0s'])).toMatchObject({ code: 0, stderr: '' });
    expect(ca.office.entry(certificate.serial).state).toBe('confirmed');
  });
});

describe('`wardgate enrol --wait`', () => {
  test('asks again when the server says so, as long as it was told to wait, with one key', async () => {
    const code = await codeOf();
    const directory = await mkdtemp(join(est.gateway.directory, 'enrol-'));
    const at = (name: string): string => join(directory, name);
    writeFileSync(at('code'), code.code, { mode: 0o600 });
    const options = { est: `https://localhost:${est.gateway.port}`, name: code.name, codeFile: at('code'), cert: at('kiosk.pem'), key: at('kiosk.key'), trust: est.gateway.path('root.pem'), root: est.gateway.path('ca-root.pem') };
    const pauses: number[] = [];
    const requests: Buffer[] = [];
    const printed: string[] = [];
    const run = (wait: string): Promise<number> => enrolCommand({ ...options, wait, json: true }, (text) => printed.push(text), (ms) => {
      pauses.push(ms);
      requests.push(readFileSync(at('.kiosk.key.renewal/next/request.der')));
      if (pauses.length === 2) approve(code.id);
      return Promise.resolve();
    });
    // The server says five minutes: it would be later then than it may be.
    expect([await run('4m'), pauses, JSON.parse(printed.at(-1) ?? '')]).toEqual([1, [], expect.objectContaining({ result: 'waiting' })]);
    expect([await run('2d'), JSON.parse(printed.at(-1) ?? '')]).toEqual([0, expect.objectContaining({ result: 'enrolled' })]);
    expect(pauses).toHaveLength(2);
    for (const ms of pauses) expect(ms).toSatisfy((one: number) => one > 290_000 && one <= 300_000);
    expect(requests[1]).toEqual(requests[0]);
  });
});

describe('a device whose key was certified by another code, and the answer lost', () => {
  test('makes a new key for the new code', async () => {
    const [before, code] = [await approved(), await codeOf()];
    const directory = await mkdtemp(join(est.gateway.directory, 'enrol-'));
    const at = (name: string): string => join(directory, name);
    writeFileSync(at('code'), code.code, { mode: 0o600 });
    const args = ['enrol', '--est', `https://localhost:${est.gateway.port}`, '--name', code.name, '--code-file', at('code'), '--cert', at('kiosk.pem'), '--key', at('kiosk.key'), '--trust', est.gateway.path('root.pem'), '--root', est.gateway.path('ca-root.pem')];
    expect((await wardgate(args)).code).toBe(1);
    expect((await enroll(before, readFileSync(at('.kiosk.key.renewal/next/request.der')))).status).toBe(200);
    approve(code.id);
    expect(await wardgate(args)).toMatchObject({ code: 0, stderr: '' });
    expect(ca.office.request(code.id).state).toBe('delivered');
  });
});

describe('nobody else has a certificate:', () => {
  test('not whoever made the code, as he approves nothing', async () => {
    const { code, stdout } = await wardgate(['ca', 'code', '--dir', ca.directory, '--profile', 'device', '--name', 'kiosk-own.hospital.test', '--id', 'kiosk-own.hospital.test', '--who', 'Li Na', '--json', '-c', '/nowhere.yaml']);
    expect(code).toBe(0);
    expect(() => approve((JSON.parse(stdout) as { id: string }).id)).toThrow('somebody else has to approve it');
  });

  test.each<[string, (code: Code) => string | undefined]>([
    ['no code', () => undefined],
    ['another scheme', ({ code }) => `Bearer ${code}`],
    ['another secret', ({ name, code }) => basic(name, code.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a')))],
    ['no secret', ({ name, id }) => basic(name, `${id}.`)],
    ['the digest that the database has', ({ name, id }) => basic(name, `${id}.${(ca.office.request(id).key as { code_sha256: string }).code_sha256}`)],
    ['another name', ({ code }) => basic('kiosk-other.hospital.test', code)],
    ['the name in capitals', ({ name, code }) => basic(name.toUpperCase(), code)],
    ['a request that is not there', ({ name, code }) => basic(name, code.replace(/^r-.{10}/, 'r-0000000000'))],
    ['what is no Basic', () => 'Basic !!!!'],
    ['no colon', () => `Basic ${Buffer.from('kiosk').toString('base64')}`],
  ])('not with %s', async (_, authorization) => {
    const code = await approved();
    const reply = await send(authorization(code), (await requestFor()).toString('base64'));
    expect([reply.status, reply.headers['www-authenticate']]).toEqual([401, expect.stringMatching(/^Basic realm=/)]);
    expect(ca.office.request(code.id).state).toBe('approved');
  });

  test('not with a code that has expired', async () => {
    const code = await approved();
    now += 49 * HOUR;
    try {
      expect(answered(await enroll(code, await requestFor()))).toEqual([403, expect.stringContaining('has expired')]);
    } finally {
      now -= 49 * HOUR;
    }
    expect(ca.office.request(code.id).state).toBe('approved');
  });

  test('not with a code whose request was refused', async () => {
    const code = await approved();
    ca.office.refuse(code.id, { who: 'Li Na', why: 'the kiosk is not coming' });
    expect(answered(await enroll(code, await requestFor()))).toEqual([403, expect.stringContaining('was refused')]);
  });

  test('not with another key, once the code was used, and not after the certificate was revoked', async () => {
    const code = await approved();
    const csr = await requestFor();
    const first = issuedIn(await enroll(code, csr));
    expect(answered(await enroll(code, await requestFor()))).toEqual([403, expect.stringContaining('used up')]);
    ca.office.revoke(first.serial, { who: 'security', why: 'stolen', reason: 'keyCompromise' });
    expect(answered(await enroll(code, csr))).toEqual([403, expect.stringContaining('used up')]);
    expect(ca.office.entries().filter(({ name }) => name === code.name)).toHaveLength(1);
  });

  test('not two of those that come at once with two keys', async () => {
    const code = await approved();
    const csrs = await Promise.all(Array.from({ length: 6 }, () => requestFor()));
    const statuses = (await Promise.all(csrs.map((csr) => enroll(code, csr)))).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 403)).toHaveLength(5);
    expect(ca.office.entries().filter(({ name }) => name === code.name)).toHaveLength(1);
  });

  test('not with a second key after the signing for the first was cut off', async () => {
    const code = await approved();
    const first = await requestFor();
    await enroll(code, first);
    // As a crash leaves it: the number is reserved, nothing is signed.
    const database = new DatabaseSync(join(ca.directory, 'ca.db'));
    database.prepare('DELETE FROM certificate WHERE request = ?').run(code.id);
    database.prepare("UPDATE serial SET state = 'reserved', at = 0 WHERE request = ?").run(code.id);
    database.prepare("UPDATE request SET state = 'issuing' WHERE id = ?").run(code.id);
    database.close();
    expect(answered(await enroll(code, await requestFor()))).toEqual([403, expect.stringContaining('another key')]);
    expect((await enroll(code, first)).status).toBe(200);
  });

  test('not for a code that somebody has written into the database: the approval was for another', async () => {
    const code = await approved();
    const other = await codeOf();
    const database = new DatabaseSync(join(ca.directory, 'ca.db'));
    const body = database.prepare('SELECT body FROM request WHERE id = ?').get(code.id)?.['body'] as string;
    const stolen = (ca.office.request(other.id).key as { code_sha256: string }).code_sha256;
    database.prepare('UPDATE request SET body = ? WHERE id = ?').run(body.replace((ca.office.request(code.id).key as { code_sha256: string }).code_sha256, stolen), code.id);
    const reply = await enroll({ name: code.name, code: other.code.replace(other.id, code.id) }, await requestFor());
    database.prepare('UPDATE request SET body = ? WHERE id = ?').run(body, code.id);
    database.close();
    expect(answered(reply)).toEqual([403, expect.stringContaining('not what was submitted')]);
    expect(ca.office.request(code.id).state).toBe('approved');
  });

  test('not by hand: `wardgate ca issue` has no key to sign for', async () => {
    const { id } = await approved();
    await expect(ca.office.issue(id, { who: 'Li Na' })).rejects.toThrow('its device brings the key');
  });

  test.each<[string, (code: Code) => Promise<string>, RegExp]>([
    ['another subject', async () => (await requestFor({ subject: encodeName([['CN', 'Dr Wang'], ['OU', 'Doctors'], ['O', 'Hospital']]) })).toString('base64'), /the subject of the request/],
    ['other alternative names', async () => (await requestFor({ dns: 'records.hospital.test' })).toString('base64'), /alternative names/],
    ['a broken signature', async () => (await requestFor({ breakSignature: true })).toString('base64'), /not signed with its own key/],
    ['the key of an approver', async () => (await requestFor({ key: (await import('node:crypto')).createPrivateKey(ca.first.get('Li Na')?.key as string) })).toString('base64'), /public key is already/],
    ['garbage', async () => 'AAAA', /certification request/],
    ['what is not base64', async () => '!!!!', /not base64/],
  ])('not for %s', async (_, body, words) => {
    const code = await approved();
    expect(answered(await send(basic(code.name, code.code), await body(code)))).toEqual([400, expect.stringMatching(words)]);
    expect(ca.office.request(code.id).state).toBe('approved');
  });

  test('not with the subject of another device; the approved names themselves may be said', async () => {
    const code = await approved();
    const subject = (name: string): Buffer => encodeName([['CN', name], ['OU', 'Devices'], ['O', 'Hospital']]);
    expect((await enroll(code, await requestFor({ subject: subject('kiosk-0.hospital.test') }))).status).toBe(400);
    expect((await enroll(code, await requestFor({ subject: subject(code.name), dns: code.name }))).status).toBe(200);
  });
});

describe('how often somebody may try', () => {
  test('wrong codes are answered so often and no more, which keeps nobody out who has the right one', async () => {
    const code = await approved();
    const statuses = [];
    for (let sent = 0; sent < 12; sent += 1) statuses.push((await send(basic(code.name, 'r-0000000000.guess'), 'AAAA')).status);
    expect([statuses[0], statuses.at(-1)]).toEqual([401, 429]);
    expect((await enroll(code, await requestFor())).status).toBe(200);
  });

  test('a right code is answered thirty times in an hour', async () => {
    const code = await codeOf();
    const statuses = [];
    for (let sent = 0; sent < 31; sent += 1) statuses.push((await send(basic(code.name, code.code), 'AAAA')).status);
    expect([statuses[0], statuses.at(-1)]).toEqual([400, 429]);
  });
});
