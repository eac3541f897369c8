import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findIdentityNumbers } from '../src/audit/identity-numbers.ts';
import { createMask, maskRules } from '../src/audit/masking.ts';
import { destroyMaskingKeys, openMaskingKeys, readMaskingKeys, rotateMaskingKey } from '../src/audit/masking-key.ts';
import { pseudonymOf } from '../src/audit/pseudonyms.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { masking } from '../src/config/schema/masking.ts';
import type { RouteConfig } from '../src/config/schema.ts';

const KEY = { id: '0a1b2c3d', secret: Buffer.alloc(32, 7) };
const ROUTES = [['records', '/patients/:id/readings'], ['fhir', '/fhir/*']].map(([name, path]) => ({ name, match: { path } })) as unknown as RouteConfig[];
const BASE: AuditRecord = { time: '2026-11-22T12:00:00.000Z', event: 'request', result: 'permitted', role: 'doctor' };
/** Made up, with a right check. */
const CHINESE = '11010519491231002X';

function masked(record: Partial<AuditRecord>, config: object = {}): AuditRecord {
  return createMask(maskRules({ audit: { masking: masking.parse(config) } as never, routes: ROUTES }), () => KEY)({ ...BASE, ...record });
}

const pseudonym = (value: string): string => pseudonymOf(KEY, value, ['cn', 'de', 'uk', 'us']);

describe('names', () => {
  test('personal attributes of a subject become pseudonyms, what names organisations stays', () => {
    const { subject } = masked({ subject: 'CN=Zhang San+UID=z.san,title=Dr,emailAddress=z@h.test,serialNumber=77,OU=Doctors,O=Hospital,C=CN' });
    expect(subject).toBe(`CN=${pseudonym('Zhang San')}+UID=${pseudonym('z.san')},title=${pseudonym('Dr')},emailAddress=${pseudonym('z@h.test')},serialNumber=${pseudonym('77')},OU=Doctors,O=Hospital,C=CN`);
  });

  test('an attribute that nobody knows is personal', () => {
    expect(masked({ subject: '1.2.3.4=Zhang San,O=Hospital' }).subject).toBe(`1.2.3.4=${pseudonym('Zhang San')},O=Hospital`);
  });

  test('a name that cannot be read is masked as a whole', () => {
    expect(masked({ subject: 'Zhang San' }).subject).toBe(pseudonym('Zhang San'));
  });

  test('names are hidden altogether when asked', () => {
    expect(masked({ subject: 'CN=Zhang San,O=Hospital', id: 'Zhang San' }, { names: 'hide' })).toMatchObject({ subject: 'CN=***,O=Hospital', id: '***' });
  });

  test('ids and subjects of plain roles stay', () => {
    expect(masked({ role: 'device', subject: 'CN=pump-7,O=Hospital', id: 'pump-7' }, { plain_roles: ['device'] })).toMatchObject({ subject: 'CN=pump-7,O=Hospital', id: 'pump-7' });
  });

  test('an issuer that nobody vouches for may be a person', () => {
    const { role: _, ...stranger } = masked({ role: undefined as never, result: 'denied', reason: 'untrusted_issuer', subject: 'CN=Li Si', issuer: 'CN=Zhang San', detail: 'no trusted issuer of CN=Li Si: CN=Zhang San' });
    expect(JSON.stringify(stranger)).not.toMatch(/Zhang|Li Si/);
  });
});

describe('patients', () => {
  test('one patient has one pseudonym wherever it stands', () => {
    const { patient, path, query, detail, break_glass: grant } = masked({
      route: 'records', patient: 'P-1234', path: '/patients/P%2D1234/readings', query: 'subject=Patient/P-1234&x=P-1234', detail: 'the path names "P-1234", and Patient/P-1234',
      break_glass: { id: 'g', reason: 'unconscious', text: 'P-1234 is dying', patient: 'P-1234' },
    }, { text: 'scan' });
    const one = pseudonym('P-1234');
    expect({ patient, path, query, detail, grant }).toEqual({
      patient: one, path: `/patients/${one}/readings`, query: `subject=Patient/${one}&x=${one}`, detail: `the path names "${one}", and Patient/${one}`,
      grant: { id: 'g', reason: 'unconscious', text: `${one} is dying`, patient: one },
    });
  });

  test('ids after a FHIR type are masked on any route, and operations and revisions are none', () => {
    expect(masked({ path: '/r4/Observation/abc/_history/2' }).path).toBe(`/r4/Observation/${pseudonym('abc')}/_history/2`);
    expect(masked({ path: '/r4/Patient/abc/$everything' }).path).toBe(`/r4/Patient/${pseudonym('abc')}/$everything`);
    expect(masked({ path: '/r4/Patient/_search' }).path).toBe('/r4/Patient/_search');
  });

  test('segments in the places of parameters are ids although they are words', () => {
    expect(masked({ route: 'records', path: '/patients/zhang/readings' }).path).toBe(`/patients/${pseudonym('zhang')}/readings`);
  });

  test('segments that nobody has declared are masked wherever they stand, words too', () => {
    expect(masked({ path: '/v1/files/8842/zhang' }).path).toBe(`/v1/${pseudonym('files')}/${pseudonym('8842')}/${pseudonym('zhang')}`);
    expect(masked({ path: '/a/%E5%BC%A0%E4%B8%89' }, { plain_segments: ['a'] }).path).toBe(`/a/${pseudonym('张三')}`);
    expect(masked({ path: '/nobody/readings' }).path).toBe(`/${pseudonym('nobody')}/readings`);
  });

  test('the gateway\'s own pages stay, and so does the base of a FHIR interface', () => {
    expect(masked({ path: '/.wardgate/second-factor' }).path).toBe('/.wardgate/second-factor');
    expect(masked({ path: '/tenant-7/fhir/Patient', fhir_base: '/tenant-7/fhir' }).path).toBe('/tenant-7/fhir/Patient');
  });

  test('names of two characters, and escapes in small letters, are masked where a detail repeats the path', () => {
    for (const path of ['/none/%E5%BC%A0%E4%BC%9F', '/none/%e5%bc%a0%e4%bc%9f', '/none/张伟', '/none/zw']) {
      const masks = `/${pseudonym('none')}/${pseudonym(path.endsWith('zw') ? 'zw' : '张伟')}`;
      expect(masked({ path, detail: `no route for GET a.test${path}` })).toMatchObject({ path: masks, detail: `no route for GET a.test${masks}` });
    }
    expect(masked({ path: '/none/张伟', sending_application: '张伟明' }).sending_application).toBe(`${pseudonym('张伟')}明`);
  });

  test.each(['"complaint of Zhang San"', '"Zhang: San"', 'Zhang San ./. Hospital', 'San for case Li', '"Zhang", SHA-256 of San"'])('what a case is called is what somebody wrote: %s', (name) => {
    const detail = (text: string): string | undefined => masked({ event: 'evidence', result: 'done', detail: text }).detail;
    expect(detail(`seals the beginning to now for case ${name}`)).toBe('seals the beginning to now for case ***');
    expect(detail(`sealed 3 records for case ${name}, SHA-256 0a1b`)).toBe('sealed 3 records for case ***, SHA-256 0a1b');
    expect(detail(`sealed 3 records for case ${name}: SHA-256 0a1b`)).toBe('sealed 3 records for case ***: SHA-256 0a1b');
  });

  test('an id in the place of a parameter is masked in the base of a FHIR interface, too', () => {
    const base = `/patients/${pseudonym('zhang')}/readings`;
    expect(masked({ route: 'records', path: '/patients/zhang/readings/Observation', fhir_base: '/patients/zhang/readings' })).toMatchObject({ path: `${base}/Observation`, fhir_base: base });
  });

  test('the last six characters are shown when asked, and of short ids nothing', () => {
    expect(masked({ patient: 'PATIENT-123456' }, { patients: 'last6' }).patient).toBe('********123456');
    expect(masked({ patient: 'P-1' }, { patients: 'last6' }).patient).toBe(pseudonym('P-1'));
  });

  test('the last six characters are shown of the patient of the record wherever they stand, and of nothing that nobody knows', () => {
    const last6 = { patients: 'last6', identifiers: ['@@##########'] };
    const name = pseudonym('Maria Hoffmann');
    expect(masked({
      route: 'records', patient: 'PATIENT-123456', path: '/patients/PATIENT%2D123456/readings', query: 'subject=Patient/PATIENT-123456&name=Maria%20Hoffmann&Maria+Hoffmann&Maria%20Hoffmann=1&by=Practitioner/Maria-Hoffmann-1970',
      detail: 'the path names "PATIENT-123456" and Patient/PATIENT-123456, not "Maria Hoffmann" or Patient/Maria-Hoffmann-1970',
    }, last6)).toMatchObject({
      patient: '********123456', path: '/patients/********123456/readings',
      query: `subject=Patient/********123456&name=${name}&${name}&${name}=${pseudonym('1')}&by=Practitioner/${pseudonym('Maria-Hoffmann-1970')}`,
      detail: `the path names "********123456" and Patient/********123456, not "${name}" or Patient/${pseudonym('Maria-Hoffmann-1970')}`,
    });
    expect(masked({ path: '/public/Maria-Hoffmann-1970', fhir_base: '/public', device: 'pad of Maria-Hoffmann-1970' }, last6)).toMatchObject({ path: `/public/${pseudonym('Maria-Hoffmann-1970')}`, device: `pad of ${pseudonym('Maria-Hoffmann-1970')}` });
    expect(masked({ path: '/public/MR1234567890' }, last6).path).toBe('/public/******567890');
  });

  test('names are not shown by their last six, nor at all where they are hidden, in what else says them', () => {
    expect(masked({ id: 'Maria Hoffmann', device: 'pad of Maria Hoffmann' }, { patients: 'last6' }).device).toBe(`pad of ${pseudonym('Maria Hoffmann')}`);
    expect(masked({ id: 'Maria Hoffmann', device: 'pad of Maria Hoffmann' }, { names: 'hide' }).device).toBe('pad of ***');
  });
});

describe('queries', () => {
  test('values are masked unless they are declared plain, and names stay', () => {
    expect(masked({ query: '_count=10&name=Zhang+San&birthdate=ge1990&flag' }).query).toBe(`_count=10&name=${pseudonym('Zhang San')}&birthdate=${pseudonym('ge1990')}&${pseudonym('flag')}`);
  });

  test('what has no name that is one may be a value', () => {
    expect(masked({ query: `${CHINESE}&Zhang%20San=1` }).query).toBe(`${pseudonym(CHINESE)}&${pseudonym('Zhang San')}=${pseudonym('1')}`);
  });

  test('an identity number in a plain parameter is found all the same', () => {
    expect(masked({ query: `_sort=${CHINESE}` }).query).toBe(`_sort=${pseudonym(CHINESE)}`);
  });
});

describe('identity numbers', () => {
  test('are found in any text, spaced or not, in digits of full width, and within longer rows of digits', () => {
    const one = pseudonym(CHINESE);
    expect(masked({ detail: `no: ${CHINESE}, 110105 19491231 002x and 99${CHINESE}` }).detail).toBe(`no: ${one}, ${one} and 99${one}`);
    expect(masked({ device: `pad of ${CHINESE.replace(/\d/g, (digit) => String.fromCharCode(digit.charCodeAt(0) + 0xfee0))}` }).device).toBe(`pad of ${one}`);
  });

  test('are shown by their last six when asked', () => {
    expect(masked({ method: CHINESE }, { identity_numbers: 'last6' }).method).toBe('************31002X');
  });

  test('of Germany, the United Kingdom and the United States are known, and those with a wrong check are none', () => {
    const kinds = ['cn', 'de', 'uk', 'us'] as const;
    expect(findIdentityNumbers('A123456780, 943 476 5919, 123-45-6789', kinds).map(({ number }) => number)).toEqual(['A123456780', '9434765919', '123-45-6789'.replaceAll('-', '')]);
    expect(findIdentityNumbers('A123456781, 943 476 5918, 000-45-6789, 110105194912310021', kinds)).toEqual([]);
  });

  test('further numbers are found by declared patterns', () => {
    expect(masked({ detail: 'for MR123456 and MR1234567' }, { identifiers: ['@@######'] }).detail).toBe(`for ${pseudonym('MR123456')} and MR1234567`);
    expect(masked({ detail: 'for mr123456' }, { identifiers: ['MR######'] }).detail).toBe(`for ${pseudonym('mr123456')}`);
  });
});

describe('texts', () => {
  test('what people wrote is hidden', () => {
    expect(masked({ event: 'revocation', detail: 'denied: Dr Zhang lost it', who: 'root' }).detail).toBe('denied: ***');
    expect(masked({ event: 'webhook', detail: 'leave e-1 done: Zhang San: retired' }).detail).toBe('leave e-1 done: ***');
    expect(masked({ event: 'webhook', detail: 'transfer Zhang: San, as another gateway was told: retired' }).detail).toBe(`transfer ${pseudonym('Zhang: San')}, as another gateway was told: ***`);
    expect(masked({ event: 'alarm', detail: 'acknowledged many_denials 5f0c: "call Hoffmann"' }, { patients: 'last6' }).detail).toBe('acknowledged many_denials 5f0c: ***');
    for (const did of ['held now to then as 5f0c', 'released the hold 5f0c', 'prunes 2 segments that ended before then']) expect(masked({ event: 'evidence', detail: `${did}: for "Zhang": San` }).detail).toBe(`${did}: ***`);
    for (const did of ['withdrawn', 'reviewed']) expect(masked({ event: 'break_glass', detail: `${did}: opened: Zhang` }).detail).toBe(`${did}: ***`);
    expect(masked({ event: 'break_glass', detail: 'opened on the page: role' }).detail).toBe('opened on the page: role');
    expect(masked({ event: 'suspension', detail: 'maintenance over: Zhang' }).detail).toBe('maintenance over: ***');
    expect(masked({ reason: 'suspended', detail: 'suspended: Zhang attacks' }).detail).toBe('suspended: ***');
    expect(masked({ break_glass: { id: 'g', reason: 'unconscious', text: 'Zhang' } }).break_glass?.text).toBe('***');
  });

  test('what a detail quotes is masked unless the record says it openly', () => {
    expect(masked({ detail: 'the upstream "ehr" has no "zhang"', upstream: 'ehr' }).detail).toBe(`the upstream "ehr" has no "${pseudonym('zhang')}"`);
  });

  test('the id of somebody refused before they were known is masked', () => {
    expect(masked({ event: 'connection', detail: 'the id Zhang San is on the deny list' }).detail).toBe(`the id ${pseudonym('Zhang San')} is on the deny list`);
  });

  test.each([
    ['a query of thousands of parameters', { query: Array.from({ length: 2_500 }, (_, index) => `p=${index}xyz`).join('&'), detail: 'xyz '.repeat(2_000) }],
    ['a detail that begins names over and over', { detail: 'CN=a expired at '.repeat(2_000) }],
    ['a detail that opens quotes over and over', { detail: '"a'.repeat(8_000) }],
    ['a text of digits', { device: '1'.repeat(16_000) }],
    ['a path of thousands of segments', { path: '/abcd'.repeat(3_000) }],
  ])('%s takes no longer than it is long', (_, record) => {
    const before = process.cpuUsage();
    masked({ subject: 'CN=Zhang San', id: 'Zhang San', patient: 'P-1234', ...record });
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(2_000);
  });

  test('what is no field of a record does not leave', () => {
    expect(masked({ note: 'Zhang' } as never)).toEqual(BASE);
  });
});

describe('the key', () => {
  const state = (): string => mkdtempSync(join(tmpdir(), 'wardgate-masking-'));

  test('is made at the first use, for the gateway alone, and kept', () => {
    const directory = state();
    const { id } = openMaskingKeys(directory, () => 0).current();
    expect(statSync(join(directory, 'masking.key')).mode & 0o777).toBe(0o600);
    expect(openMaskingKeys(directory, () => 0).current().id).toBe(id);
  });

  test('is followed when another process rotates it, and those before it stay', () => {
    const directory = state();
    let now = 0;
    const keys = openMaskingKeys(directory, () => now);
    const before = keys.current();
    const { id } = rotateMaskingKey(directory, 1);
    now = 2_000;
    expect(keys.current().id).toBe(id);
    expect(readMaskingKeys(directory).map((key) => key.id)).toEqual([before.id, id]);
  });

  test('destroyed is nowhere in the state directory any more, and pseudonyms are others', () => {
    const directory = state();
    const before = openMaskingKeys(directory, () => 0).current();
    expect(destroyMaskingKeys(directory, 'all', 1)).toEqual([before.id]);
    const after = openMaskingKeys(directory, () => 0).current();
    expect(readFileSync(join(directory, 'masking.key'), 'utf8')).not.toContain(Buffer.from(before.secret).toString('base64url'));
    expect(pseudonymOf(after, 'P-1', [])).toMatch(/^~[0-9a-f]{8}\.[0-9a-f]{24}$/);
    expect(pseudonymOf(after, 'P-1', [])).not.toBe(pseudonymOf(before, 'P-1', []));
  });

  test('a file that holds none stops whoever needs it', () => {
    const directory = state();
    writeFileSync(join(directory, 'masking.key'), 'garbage\n');
    expect(() => openMaskingKeys(directory, () => 0)).toThrow(/masking\.key: expected one key a line/);
  });

  test('two commands at once: the second is refused, so that what the first destroys does not come back', () => {
    const directory = state();
    openMaskingKeys(directory, () => 0);
    writeFileSync(join(directory, 'masking.key.new'), '');
    expect(() => rotateMaskingKey(directory, 1)).toThrow(/another command/);
    expect(readMaskingKeys(directory)).toHaveLength(1);
  });
});
