import { readFile, readdir, rm } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEvidence } from '../src/audit/evidence.ts';
import { verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { issueCertificate } from '../src/ca/issue.ts';
import { exportCommand } from '../src/cli/audit.ts';
import { addHold, listHolds, prune, releaseHold } from '../src/cli/audit-keep.ts';
import { impact, seal } from '../src/cli/seal.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { inOtherForm, testPki, type TestPki } from './support/pki.ts';

const ROUTES = `
  - { name: records, match: { path: /echo/:patient, methods: [GET] }, allow: [doctor], upstream: records, patient: { path: patient } }
  - { name: asked, match: { path: /public/records, methods: [GET] }, allow: [doctor], upstream: records, patient: { query: patient } }
  - { name: any, match: { path: /any/* }, allow: [patient], upstream: records }`;

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let config: string;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, { routes: ROUTES });
  config = gateway.path('wardgate.yaml');
  for (const patient of ['P1', 'P2', 'P1']) expect((await ask(pki, gateway.port, `/echo/${patient}`, { client: pki.doctor })).status).toBe(200);
  expect((await ask(pki, gateway.port, '/any/x', { client: pki.doctor })).status).toBe(403);
});

afterAll(async () => {
  await gateway.gateway.stop(0);
  await rm(gateway.directory, { recursive: true, force: true });
  await backend.close();
});

async function printed(command: (print: (text: string) => void) => Promise<number>): Promise<{ readonly code: number; readonly text: string }> {
  let text = '';
  const code = await command((line) => void (text += `${line}\n`));
  return { code, text };
}

function verify(path: string): Verdict {
  const evidence = openEvidence(path);
  try {
    return verifyAudit({ evidence });
  } finally {
    evidence.close();
  }
}

const evident = async (): Promise<readonly Record<string, unknown>[]> => (await gateway.records()).filter(({ event }) => event === 'evidence');

describe('wardgate seal', () => {
  it('makes one file of what a running gateway has on record up to now, each record with its proof, and that it did is on record', async () => {
    const out = gateway.path('p1.sealed');
    const { stdout, stderr, code } = await wardgate(['seal', '-c', config, '--patient', 'P1', '--from', '2020-01-01', '--case', 'police 2026/881', '--who', 'Dr Chen', '--out', out, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ file: out, case: 'police 2026/881', filter: { patient: 'P1' } });
    const verdict = verify(out);
    // Two requests, and that they were sealed: all of it proven.
    expect(verdict).toMatchObject({ whole: true, records: 3, proven: 3 });
    expect(verdict.notes.join('\n')).toContain('by Dr Chen for case "police 2026/881"');
    const { sha256 } = JSON.parse(stdout) as { readonly sha256: string };
    expect(await evident()).toEqual(expect.arrayContaining([
      expect.objectContaining({ who: 'Dr Chen', patient: 'P1', detail: 'seals 2020-01-01T00:00:00.000Z to now for case "police 2026/881"' }),
      expect.objectContaining({ who: 'Dr Chen', patient: 'P1', detail: `sealed 3 records for case "police 2026/881", SHA-256 ${sha256}` }),
    ]));
    expect(verify(gateway.path('state/audit')).bad).toBeUndefined();
    await expect(seal({ config, case: 'x', who: 'x', out }, () => undefined)).rejects.toThrow('is there already');
  });

  it('is what audit export --seal makes, too', async () => {
    const out = gateway.path('all.sealed');
    await exportCommand(undefined, { config, seal: out, case: 'yearly', who: 'auditor' }, new PassThrough());
    expect(verify(out)).toMatchObject({ whole: true });
    expect(await readFile(out, 'utf8')).toContain('"case":"yearly"');
  });
});

describe('wardgate impact', () => {
  it('says whom a certificate concerns, and who asked is on record', async () => {
    const { code, text } = await printed((print) => impact({ config, serial: pki.doctor.serialHex, who: 'duty officer', json: true }, print));
    expect(code).toBe(0);
    const found = JSON.parse(text) as Record<string, readonly Record<string, unknown>[]>;
    expect(found).toMatchObject({ records: 4, permitted: 3, denied: 1, failed: 0, ended: 0 });
    expect(found['patients']?.map(({ name, requests }) => [name, requests])).toEqual([['P1', 2], ['P2', 1]]);
    expect(found['resources']?.map(({ method, name }) => [method, name])).toEqual([['GET', '/echo/P1'], ['GET', '/echo/P2']]);
    expect(found['routes']?.map(({ name }) => name)).toEqual(['records']);
    expect(found['denials']?.map(({ name }) => name)).toEqual(['role_denied']);
    expect(await evident()).toContainEqual(expect.objectContaining({ who: 'duty officer', serial: pki.doctor.serialHex.toLowerCase() }));
    expect((await printed((print) => impact({ config, serial: pki.doctor.serialHex, from: '2020-01-01', to: '2020-02-01', who: 'x' }, print))).text).toBe('nothing is on record\n');
    expect(JSON.parse((await printed((print) => impact({ config, cert: gateway.path('doctor.pem'), who: 'x', json: true }, print))).text)).toMatchObject({ permitted: 3, denied: 1 });
    // What its thief did with the other form of its signature (r, n - s) has another fingerprint.
    await ask(pki, gateway.port, '/echo/P2', { client: inOtherForm(pki, pki.doctor) });
    expect(JSON.parse((await printed((print) => impact({ config, cert: gateway.path('doctor.pem'), who: 'x', json: true }, print))).text)).toMatchObject({ permitted: 4, denied: 1 });
    expect(JSON.parse((await printed((print) => impact({ config, fingerprint: pki.doctor.sha256, who: 'x', json: true }, print))).text)).toMatchObject({ permitted: 4, denied: 1 });
    const { records } = JSON.parse((await printed((print) => seal({ config, fingerprint: pki.doctor.sha256, case: 'theft', who: 'x', out: gateway.path('theft.sealed'), json: true }, print))).text) as { readonly records: number };
    expect(records).toBe(5);
    await expect(impact({ config, who: 'x' }, () => undefined)).rejects.toThrow('--fingerprint, --serial or --id');
  });

  it('says that a serial number is of several CAs, and means one of them by its issuer', async () => {
    const { serialHex } = pki.patient;
    const foreign = await issueCertificate(pki.backendCa, { subject: [['CN', 'Stranger']], serial: serialHex });
    for (const client of [pki.patient, foreign]) await ask(pki, gateway.port, '/echo/P1', { client });
    const found = async (more: object) => JSON.parse((await printed((print) => impact({ config, serial: serialHex, who: 'x', json: true, ...more }, print))).text) as object;
    expect(await found({})).toMatchObject({ certificates: [{ requests: 1 }, { requests: 1 }] });
    expect((await printed((print) => impact({ config, serial: serialHex, who: 'x' }, print))).text).toContain('WARNING: they are of 2 certificates');
    // As OpenSSL prints it.
    expect(await found({ issuer: 'O = Hospital, CN = Hospital Issuing CA' })).toMatchObject({ records: 1, certificates: [{ name: `CN=Patient 1001,OU=Patients,O=Hospital, serial number ${serialHex.toLowerCase()} of CN=Hospital Issuing CA,O=Hospital` }] });
  });

  it('is steered by nothing that a client asked for: not the terminal, and no line is of his making', async () => {
    const client = await pki.issueClient({ subject: [['CN', 'Dr Strange'], ['OU', 'Doctors']] });
    expect((await ask(pki, gateway.port, '/public/records?patient=%1B%5B2J%0Apatients%20(0)%C2%9B%E2%80%AE', { client })).status).toBe(200);
    for (const more of [[], ['--json']]) {
      const { stdout } = await wardgate(['impact', '-c', config, '--serial', client.serialHex, '--who', 'x', ...more]);
      expect(stdout).toMatch(/1b.?\[2J/);
      expect([...'\u001b\u009b\u202e', '\npatients (0)'].filter((one) => stdout.includes(one))).toEqual([]);
      if (more.length > 0) expect(JSON.parse(stdout)).toMatchObject({ patients: [{ name: '\u001b[2J\npatients (0)\u009b\u202e' }] });
    }
  });

  it('takes a fingerprint as OpenSSL prints it, with colons and in capitals, and refuses what is none', async () => {
    const printedByOpenSsl = pki.doctor.sha256.toUpperCase().replaceAll(/..(?=.)/g, '$&:');
    expect(JSON.parse((await printed((print) => impact({ config, fingerprint: printedByOpenSsl, who: 'x', json: true }, print))).text)).toMatchObject({ permitted: 4, denied: 1 });
    const { stdout } = await wardgate(['audit', 'hold', 'add', '-c', config, '--fingerprint', `sha256 Fingerprint=${printedByOpenSsl}`, '--reason', 'ticket', '--json']);
    const held = JSON.parse(stdout) as { readonly id: string };
    // By the number, which the other form of its signature has, too.
    expect(held).toMatchObject({ serial: pki.doctor.serialHex.toLowerCase() });
    expect(held).not.toHaveProperty('fingerprint');
    await releaseHold(held.id, { config, who: 'x', reason: 'x' }, () => undefined);
    await expect(impact({ config, fingerprint: '9f86', who: 'x' }, () => undefined)).rejects.toThrow('--fingerprint: "9f86" is not a SHA-256');
  });
});

describe('wardgate audit hold and prune', () => {
  it('work beside a running gateway', async () => {
    const { text } = await printed((print) => addHold({ config, patient: 'P1', who: 'legal', reason: 'order 12/26', json: true }, print));
    const { id } = JSON.parse(text) as { readonly id: string };
    expect((await printed((print) => listHolds({ config }, print))).text).toMatch(new RegExp(`^${id} {2}since \\S+ by legal: patient P1: order 12/26\n$`));
    expect((await printed((print) => prune({ config, who: 'clerk', reason: 'x', confirm: true }, print))).text).toMatch(/^removed 0 segments/);
    await expect(prune({ config, who: 'clerk', reason: 'x', before: '2026-11-01', confirm: true }, () => undefined)).rejects.toThrow(/audit\.retention keeps every record for 2562 days/);
    expect((await printed((print) => releaseHold(id, { config, who: 'legal', reason: 'closed' }, print))).code).toBe(0);
    expect((await printed((print) => releaseHold(id, { config, who: 'legal', reason: 'closed' }, print))).code).toBe(1);
    await expect(addHold({ config, who: 'legal', reason: 'x' }, () => undefined)).rejects.toThrow('name what is held');
  });

  it('work on the audit of a gateway that does not run, which stays whole', async () => {
    await gateway.gateway.stop(0);
    await printed((print) => addHold({ config, patient: 'P2', who: 'legal', reason: 'later', json: true }, print));
    expect((await printed((print) => listHolds({ config, json: true }, print))).text).toContain('"reason":"later"');
    expect(verify(gateway.path('state/audit'))).toMatchObject({ whole: true, unanchored: 0 });
    expect((await readdir(gateway.path('state/audit'))).some((name) => name.includes('-command.jsonl'))).toBe(true);
    expect((await evident()).at(-1)).toMatchObject({ who: 'legal', patient: 'P2' });
  });
});
