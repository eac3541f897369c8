import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { createForms, type Forms } from '../src/audit/forms/forms.ts';
import { recordJsonSchema } from '../src/audit/forms/json-schema.ts';
import { maskRules } from '../src/audit/masking.ts';
import { openMaskingKeys } from '../src/audit/masking-key.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { parseConfig } from '../src/config/load.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { BALP, type BalpProfile } from './support/balp.ts';
import { wardgate, type CommandRun } from './support/command.ts';
import { auditEventFaults, profileFaults } from './support/fhir-validator.ts';
import { ask, startGateway, type AskOptions, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

// What nobody outside the audit may learn (REQUIREMENTS 43). The identity number is made up, with a right check.
const NAME = 'Quillfeather Zoë';
const NUMBER = '11010519491231002X';
const PATIENT = 'PAT-774411';
const SOUGHT = 'Hemlock';
const PLEA = 'Hemlock does not wake up';
const WORDS = ['Quillfeather', NUMBER, PATIENT, SOUGHT, 'visiting-uncle'] as const;

const ROUTES = `
  - { name: readings, match: { path: "/patients/:id/readings" }, allow: [doctor], upstream: records, phi: true, patient: { path: id, bound: [patient] }, break_glass: { roles: [nurse], reasons: [unconscious] } }
  - { name: fhir, match: { path: /fhir/* }, allow: [doctor, patient], upstream: records, patient: { body: fhir } }
  - { name: echo, match: { path: /echo/* }, allow: [doctor], upstream: records }`;
const ROLES = `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.serialNumber}" }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }`;
const TOP = `
audit: { sinks: [{ name: json, kind: file, file: json.out }, { name: cef, kind: file, file: cef.out, form: cef }, { name: dicom, kind: file, file: dicom.out, form: dicom }] }
metrics: { address: 127.0.0.1:0 }`;

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let doctor: Issued;
let nurse: Issued;
let patient: Issued;
let stranger: Issued;
let sealed: readonly AuditRecord[] = [];
const logged: string[] = [];
const note = (fields: object, message: string): void => void logged.push(`${message} ${JSON.stringify(fields)}`);

const asked = (path: string, client: Issued, options: AskOptions = {}): Promise<number> => ask(pki, gateway.port, path, { client, ...options }).then(({ status }) => status);
const command = (...args: readonly string[]): Promise<CommandRun> => wardgate([...args, '-c', gateway.path('wardgate.yaml')]);
const output = (file: string): string => (existsSync(gateway.path(file)) ? readFileSync(gateway.path(file), 'utf8') : '');

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  const person = (unit: string) => [['CN', NAME], ['serialNumber', NUMBER], ['OU', unit], ['O', 'Hospital']] as const;
  [doctor, nurse, patient, stranger] = await Promise.all([
    pki.issueClient({ subject: person('Doctors') }), pki.issueClient({ subject: person('Nurses') }), pki.issueClient({ subject: person('Patients'), san: { uri: `urn:patient:${PATIENT}` } }),
    testPki().then((other) => other.issueClient({ subject: person('Doctors') })),
  ]);
  gateway = await startGateway(pki, backend.port, { routes: ROUTES, roles: ROLES, top: TOP, log: { info: note, warn: note, error: note } });
  const secret = `identifier=${NUMBER}&name=${SOUGHT}&_count=10`;
  expect([
    await asked(`/patients/${PATIENT}/readings?${secret}`, doctor),
    await asked(`/echo/${NUMBER}?${secret}`, doctor),
    await asked(`/fhir/Patient/${PATIENT}`, doctor),
    await asked(`/fhir/Observation?subject=Patient/${PATIENT}&code=${SOUGHT}`, doctor),
    await asked(`/fhir/Observation?subject=Patient/${SOUGHT}`, patient),
    await asked(`/${SOUGHT}/${PATIENT}?${secret}`, doctor),
    await asked(`/patients/${PATIENT}/readings`, patient),
    await asked(`/patients/${PATIENT}/readings`, stranger),
    await asked(`/patients/${PATIENT}/readings`, nurse, { headers: { 'wardgate-emergency-reason': 'unconscious', 'wardgate-emergency-text': PLEA } }),
  ]).toEqual([200, 200, 200, 200, 403, 404, 403, 403, 200]);
  const session = await openHttp2(pki, gateway.port, { client: doctor });
  expect((await askHttp2(session, `/echo/${PATIENT}?${secret}`)).status).toBe(200);
  session.destroy();
  expect((await command('revoke', '--id', SOUGHT, '--reason', `${SOUGHT} left`, '--expires', '1s')).code).toBe(0);
  expect((await command('revoke', '--id', NAME, '--reason', `${SOUGHT} left`)).code).toBe(0);
  expect(await asked('/echo/a', doctor)).toBe(403);
  expect((await command('reinstate', '--id', NAME)).code).toBe(0);
  expect((await command('audit', 'masking-key', 'pseudonym', PATIENT)).code).toBe(0);
  await vi.waitFor(() => expect(logged.filter((line) => line.startsWith('an entry of the deny list expired')).length).toBe(1), 20_000);
  sealed = await gateway.records() as unknown as readonly AuditRecord[];
  const { length } = sealed;
  await vi.waitFor(() => expect(['json.out', 'cef.out', 'dicom.out'].map((file) => output(file).split('\n').length - 1 >= length)).toEqual([true, true, true]), 20_000);
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

describe('what a gateway lets out of its audit', () => {
  /** All that is in a text, base64 within it included. */
  function revealed(text: string): string {
    const within = [...text.matchAll(/[A-Za-z0-9+/]{8,}={0,2}/g)].map(([found]) => Buffer.from(found, 'base64').toString());
    return [text, ...within].flatMap((one) => [one, one.replace(/(?:%[0-9A-F]{2})+/gi, (octets) => Buffer.from(octets.replaceAll('%', ''), 'hex').toString())]).join('\n').toLowerCase();
  }

  const found = (text: string): readonly string[] => WORDS.filter((word) => revealed(text).includes(word.toLowerCase()));

  test('the audit files hold all of it', () => {
    expect(WORDS.slice(0, 4).filter((word) => !JSON.stringify(sealed).includes(word))).toEqual([]);
    expect(sealed.find(({ path, query }) => path === `/patients/${PATIENT}/readings` && query !== undefined)).toMatchObject({ query: `identifier=${NUMBER}&name=${SOUGHT}&_count=10`, phi: true, patient: PATIENT });
    expect(sealed.find(({ path }) => path === `/fhir/Patient/${PATIENT}`)).toMatchObject({ fhir_base: '/fhir', patient: PATIENT });
    expect(sealed.filter(({ query }) => query !== undefined).length).toBeGreaterThanOrEqual(6);
    expect(sealed.find(({ event }) => event === 'break_glass')?.break_glass?.text).toBe(PLEA);
  });

  test.each(['json.out', 'cef.out', 'dicom.out'])('nothing of it is in %s', (file) => {
    expect(found(output(file))).toEqual([]);
  });

  test('nothing of it is in the log, nor in the metrics', async () => {
    expect(logged.length).toBeGreaterThan(0);
    expect(found(logged.join('\n'))).toEqual([]);
    expect(found(await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text())).toEqual([]);
  });

  test('whoever has the key finds a patient again, and that is on record', async () => {
    const { stdout } = await command('audit', 'masking-key', 'pseudonym', PATIENT);
    expect(output('json.out')).toContain(`"patient":"${stdout.trim()}"`);
    expect(sealed.filter(({ event }) => event === 'evidence')).toMatchObject([{ patient: PATIENT, detail: 'looks up pseudonyms' }]);
  });
});

describe('every record of a gateway', () => {
  let forms: Forms;
  beforeAll(() => {
    const parsed = parseConfig(readFileSync(gateway.path('wardgate.yaml'), 'utf8'), 'wardgate.yaml');
    if (parsed.kind === 'invalid') throw new Error('the configuration is invalid');
    forms = createForms({ rules: maskRules(parsed.config), key: openMaskingKeys(gateway.path('state'), Date.now).current, reporter: { name: 'test', version: '0' } });
  });

  test('is what the schema of the JSON form says', () => {
    const schema = z.fromJSONSchema(recordJsonSchema() as never);
    expect(output('json.out').split('\n').slice(0, -1).flatMap((line) => schema.safeParse(JSON.parse(line)).error?.issues ?? [])).toEqual([]);
  });

  test('is an AuditEvent of FHIR R4 and BALP', () => {
    const events = sealed.map((record, seq) => forms.fhir({ record, segment: 'a.jsonl', seq }));
    const profiles = events.map((event) => event?.meta?.profile?.[0]?.split('.').at(-1));
    expect(profiles.filter((profile) => profile !== undefined).sort()).toEqual(['PatientQuery', 'PatientQuery', 'PatientRead', 'PatientRead', 'Query', 'Query']);
    expect(events.flatMap((event, index) => [...auditEventFaults(event), ...(profiles[index] === undefined ? [] : profileFaults(event, BALP[profiles[index] as BalpProfile]))])).toEqual([]);
  });
});

describe('the key of pseudonyms', () => {
  test('is rotated and destroyed by command while the gateway runs, which follows; both are on record', async () => {
    const before = openMaskingKeys(gateway.path('state'), Date.now).current().id;
    expect((await command('audit', 'masking-key', 'destroy', '--old')).stdout).toBe('there is no key to destroy\n');
    expect((await command('audit', 'masking-key', 'rotate', '--dry-run')).stdout).toContain(before);
    const { id } = JSON.parse((await command('audit', 'masking-key', 'rotate', '--json')).stdout) as { id: string };
    expect((await command('audit', 'masking-key', 'show')).stdout).toMatch(new RegExp(`^${before} since \\S+\n${id} since \\S+, current\n$`));
    expect(JSON.parse((await command('audit', 'masking-key', 'destroy', '--old', '--json')).stdout)).toEqual({ destroyed: [before] });
    await expect.poll(async () => {
      await asked(`/patients/${PATIENT}/readings`, patient);
      return output('json.out').includes(`~${id}.`);
    }, { interval: 200 }).toBe(true);
    const records = await gateway.records() as unknown as readonly AuditRecord[];
    expect(records.filter(({ event }) => event === 'evidence').map(({ detail }) => detail)).toEqual(expect.arrayContaining(['rotates the key of pseudonyms', `destroys keys of pseudonyms: ${before}`]));
    expect(readFileSync(gateway.path('state/masking.key'), 'utf8')).not.toContain(before);
  });
});
