import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createForms, type Forms } from '../src/audit/forms/forms.ts';
import type { AuditEvent } from '../src/audit/forms/fhir.ts';
import { recordJsonSchema, recordJsonSchemaText } from '../src/audit/forms/json-schema.ts';
import { fittingText } from '../src/audit/forms/words.ts';
import { maskRules } from '../src/audit/masking.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { masking } from '../src/config/schema/masking.ts';
import type { RouteConfig } from '../src/config/schema.ts';
import { anyRecord, SECRETS, SORTS } from './support/audit-records.ts';
import { BALP, type BalpProfile } from './support/balp.ts';
import { auditEventFaults, profileFaults } from './support/fhir-validator.ts';
import { readShorthand } from './support/fsh.ts';
import { haveVectors } from './support/vectors.ts';

const ROUTES = [['records', '/records'], ['fhir', '/fhir/*']].map(([name, path]) => ({ name, match: { path } })) as unknown as RouteConfig[];
const RUNS = 500;
const forms: Forms = createForms({
  rules: maskRules({ audit: { masking: masking.parse({}) } as never, routes: ROUTES }), key: () => ({ id: '0a1b2c3d', secret: Buffer.alloc(32, 7) }), reporter: { name: 'gateway-1', version: '0.1.0', site: 'Hospital <North>' },
});
const placed = (record: AuditRecord) => ({ record, segment: '20261122T123456.789Z-t0.jsonl', seq: 17 });
const sorts = Object.entries(SORTS).map(([sort, { record, profile }]) => ({ sort, record, profile }));

const PROFILE = 'https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.';

function faultsOf(event: AuditEvent | undefined): readonly string[] {
  if (event === undefined) return ['none'];
  const stated = (event.meta?.profile ?? []).map((url) => url.slice(PROFILE.length) as BalpProfile);
  return [...auditEventFaults(event), ...stated.flatMap((profile) => profileFaults(event, BALP[profile]))];
}

describe('the header of a segment', () => {
  test('is no record, and has no form', () => {
    const header = placed({ time: '2026-11-22T00:00:00.000Z', event: 'segment', result: 'done' } as never);
    expect([forms.json(header), forms.fhir(header), forms.dicom(header), forms.cef(header)]).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('FHIR', () => {
  test.each(sorts)('$sort: is an AuditEvent of R4, of the profile of BALP that is for it', ({ record, profile }) => {
    const event = forms.fhir(placed(record));
    expect(event?.meta?.profile).toEqual(profile === undefined ? undefined : [PROFILE + profile]);
    expect(faultsOf(event)).toEqual([]);
  });

  test('any record is, whatever stands in it', () => {
    fc.assert(fc.property(anyRecord, (record) => { expect(faultsOf(forms.fhir(placed(record)))).toEqual([]); }), { numRuns: RUNS });
  });

  test('denials are security alerts with outcome 8, about the node where the certificate is refused', () => {
    const code = (sort: string): unknown => (({ type, subtype, outcome }) => [type.code, subtype?.[0]?.code, outcome])(forms.fhir(placed(SORTS[sort]?.record as AuditRecord)) as AuditEvent);
    expect(Object.fromEntries(['role denied', 'other patient', 'no certificate', 'connection refused', 'unregistered device', 'emergency opened', 'emergency over', 'revocation', 'configuration', 'start', 'stop', 'audit used', 'code wrong'].map((sort) => [sort, code(sort)]))).toEqual({
      'role denied': ['110113', '110132', '8'], 'other patient': ['110113', '110132', '8'], 'no certificate': ['110113', '110126', '8'], 'connection refused': ['110113', '110126', '8'],
      'unregistered device': ['110113', '110126', '8'], 'emergency opened': ['110113', '110127', '0'], 'emergency over': ['110113', '110138', '0'], revocation: ['110113', '110137', '0'],
      configuration: ['110113', '110129', '0'], start: ['110100', '110120', '0'], stop: ['110100', '110121', '0'], 'audit used': ['110101', undefined, '0'], 'code wrong': ['110114', '110122', '8'],
    });
  });

  test('a search is there in base64, masked, and so is the patient', () => {
    const event = forms.fhir(placed(SORTS['search of a patient']?.record as AuditRecord));
    const query = event?.entity?.find((entity) => entity.query !== undefined)?.query ?? '';
    const patient = event?.entity?.find(({ what }) => what?.type === 'Patient')?.what?.identifier?.value;
    expect(Buffer.from(query, 'base64').toString()).toBe(`/fhir/Observation?subject=Patient/${patient}`);
  });

  test('the same record has the same id, and others have others', () => {
    const { record } = SORTS['read'] as { record: AuditRecord };
    const id = (seq: number): string | undefined => forms.fhir({ ...placed(record), seq })?.id;
    expect([id(1), id(1) === id(1), id(1) === id(2)]).toEqual(['gateway-1.20261122T123456.789Z-t0.1', true, false]);
  });

  const broken: readonly (readonly [what: string, change: (event: AuditEvent) => object])[] = [
    ['without an agent', (event) => ({ ...event, agent: [] })],
    ['without a source', (event) => ({ ...event, source: undefined })],
    ['with an unknown element', (event) => ({ ...event, severity: 'high' })],
    ['with another action', (event) => ({ ...event, action: 'D' })],
    ['with a client in the place of the server', (event) => ({ ...event, agent: event.agent.map((agent, index) => (index === 1 ? event.agent[0] : agent)) })],
    ['without the client\'s network', (event) => ({ ...event, agent: event.agent.map((agent, index) => (index === 0 ? { ...agent, network: undefined } : agent)) })],
    ['with a person who has a network', (event) => ({ ...event, agent: event.agent.map((agent, index) => (index === 2 ? { ...agent, network: { address: '::1', type: '2' } } : agent)) })],
    ['without its object', (event) => ({ ...event, entity: event.entity?.filter(({ type }) => type.code !== '2') })],
    ['without its patient', (event) => ({ ...event, entity: event.entity?.filter(({ type }) => type.code !== '1') })],
    ['with an organization for a patient', (event) => ({ ...event, entity: event.entity?.map((entity) => (entity.type.code === '1' ? { ...entity, what: { type: 'Organization' } } : entity)) })],
    ['with another outcome', (event) => ({ ...event, outcome: '8' })],
    ['with an outcome that there is not', (event) => ({ ...event, outcome: '5' })],
    ['with a time of no zone', (event) => ({ ...event, recorded: '2026-11-22T12:00:00' })],
    ['with an empty text', (event) => ({ ...event, outcomeDesc: '' })],
    ['with a code that DICOM has not', (event) => ({ ...event, subtype: [{ system: 'http://dicom.nema.org/resources/ontology/DCM', code: '110199' }] })],
    ['with another subtype', (event) => ({ ...event, subtype: [{ system: 'http://hl7.org/fhir/restful-interaction', code: 'create' }] })],
  ];

  test.each(broken)('what holds them to the definitions objects to one %s', (_, change) => {
    expect(faultsOf(change(forms.fhir(placed(SORTS['read of a patient']?.record as AuditRecord)) as AuditEvent) as AuditEvent)).not.toEqual([]);
  });

  const published = join(import.meta.dirname, '../../shared/vectors/balp');

  test.skipIf(!haveVectors('balp'))('what the profiles ask for is what is published', () => {
    const profiles = readShorthand(readdirSync(published).filter((name) => name.endsWith('.fsh')).map((name) => readFileSync(join(published, name), 'utf8')));
    for (const [name, rules] of Object.entries(BALP)) {
      const own = profiles.get(name);
      const inherited = profiles.get(own?.parent ?? '')?.rules ?? [];
      expect([name, [...new Set(rules)].sort()]).toEqual([name, [...new Set([...inherited, ...own?.rules ?? []])].sort()]);
    }
  });
});

describe('DICOM', () => {
  const xmllint = hasXmllint();
  if (!xmllint) console.log('skipped: xmllint is not installed');

  function hasXmllint(): boolean {
    try {
      execFileSync('xmllint', ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'wardgate-dicom-'));
    // Many messages in one document: the same grammar, in a frame.
    const grammar = readFileSync(join(import.meta.dirname, 'vectors/dicom-audit-message.rng'), 'utf8');
    writeFileSync(join(directory, 'messages.rng'), grammar.replace('<start>', '<start><element name="messages"><oneOrMore>').replace('</start>', '</oneOrMore></element></start>'));
  });

  /** What xmllint says of them; nothing when they are right. */
  function objections(messages: readonly string[]): string {
    const file = join(directory, 'messages.xml');
    writeFileSync(file, `<messages>\n${messages.join('\n')}\n</messages>`);
    try {
      execFileSync('xmllint', ['--noout', '--huge', '--relaxng', join(directory, 'messages.rng'), file], { stdio: 'pipe' });
      return '';
    } catch (error) {
      return String((error as { stderr: Buffer }).stderr).slice(0, 2_000);
    }
  }

  test.skipIf(!xmllint)('messages of every sort are those of PS3.15', () => {
    expect(objections(sorts.map(({ record }) => forms.dicom(placed(record)) ?? ''))).toBe('');
  });

  test.skipIf(!xmllint)('messages of any record are, whatever stands in it', () => {
    expect(objections(fc.sample(anyRecord, RUNS).map((record) => forms.dicom(placed(record)) ?? ''))).toBe('');
  });

  test.skipIf(!xmllint)('a message with something wrong is found', () => {
    const [message = ''] = sorts.map(({ record }) => forms.dicom(placed(record)) ?? '');
    expect(['EventOutcomeIndicator="0"', 'UserIsRequestor="true"', /<ParticipantObjectName>.*?<\/ParticipantObjectName>/, /<AuditSourceIdentification.*<\/AuditSourceIdentification>/].map((part) => objections([message.replace(part, '')]) === '')).toEqual([false, false, false, false]);
  });

  test('a message is one line and concerns one patient at most', () => {
    fc.assert(fc.property(anyRecord, (record) => {
      const message = forms.dicom(placed(record)) ?? '';
      expect([/[\n\r]/.test(message), message.split('ParticipantObjectTypeCodeRole="1"').length - 1]).toEqual([false, record.patient === undefined ? 0 : 1]);
    }), { numRuns: 200 });
  });

  test('an alert describes itself, and names the request', () => {
    const message = forms.dicom(placed(SORTS['role denied']?.record as AuditRecord)) ?? '';
    const details = Object.fromEntries([...message.matchAll(/<ParticipantObjectDetail type="([^"]+)" value="([^"]+)"/g)].map(([, type = '', value = '']) => [type, Buffer.from(value, 'base64').toString()]));
    expect(details).toMatchObject({ 'Alert Description': 'role_denied: the route allows nurse', 'X-Request-Id': 'b8f7c6d5-0000-4000-8000-000000000001', record: '20261122T123456.789Z-t0.jsonl:17' });
  });
});

describe('JSON', () => {
  const schema = z.fromJSONSchema(recordJsonSchema() as never);

  test('its schema in config/ is the one that the code has (node scripts/write-schema.ts makes it anew)', () => {
    expect(readFileSync(join(import.meta.dirname, '../config/audit-record.schema.json'), 'utf8')).toBe(recordJsonSchemaText());
  });

  test.each(sorts)('$sort: is what the schema says', ({ record }) => {
    expect(schema.safeParse(JSON.parse(forms.json(placed(record)) ?? '')).error?.issues ?? []).toEqual([]);
  });

  test('any record is one line of what the schema says', () => {
    fc.assert(fc.property(anyRecord, (record) => {
      const line = forms.json(placed(record)) ?? '';
      expect(line).not.toMatch(/\n/);
      expect(schema.safeParse(JSON.parse(line)).error?.issues ?? []).toEqual([]);
    }), { numRuns: RUNS });
  });

  test('the hash of the record stays in the audit, since whoever guesses what is masked could prove it with that', () => {
    expect(forms.json(placed({ ...SORTS['read']?.record, hash: 'A'.repeat(43) } as never))).not.toContain('AAAA');
  });
});

describe('CEF', () => {
  /** As a SIEM reads it. */
  function parse(line: string): { readonly header: readonly string[]; readonly extension: Readonly<Record<string, string>> } {
    const parts = line.split(/(?<!(?<!\\)(?:\\\\)*\\)\|/);
    const header = parts.slice(0, 7).map((part) => part.replace(/\\([\\|])/g, '$1'));
    const extension = parts.slice(7).join('|');
    const keys = [...extension.matchAll(/(?:^| )([A-Za-z0-9]+)=/g)];
    return {
      header,
      extension: Object.fromEntries(keys.map((match, index) => [
        match[1], extension.slice(match.index + match[0].length, keys[index + 1]?.index).replace(/\\([\\=nr])/g, (_, character: string) => ({ n: '\n', r: '\r' })[character] ?? character),
      ])),
    };
  }

  test.each(sorts)('$sort: says what happened, and how bad that is', ({ record }) => {
    const { header, extension } = parse(forms.cef(placed(record)) ?? '');
    expect(header.slice(0, 4)).toEqual(['CEF:0', 'Wardgate', 'Wardgate', '0.1.0']);
    expect(header[4]?.startsWith(`${record.event}.${record.result}`)).toBe(true);
    expect(Number(header[6])).toBeGreaterThanOrEqual(0);
    expect(extension).toMatchObject({ cat: record.event, act: record.result, rt: String(Date.parse(record.time)) });
  });

  test('any record comes back as it went, in one line', () => {
    fc.assert(fc.property(anyRecord, (record) => {
      const line = forms.cef(placed(record)) ?? '';
      const json = JSON.parse(forms.json(placed(record)) ?? '') as AuditRecord;
      const { header, extension } = parse(line);
      expect([/[\n\r]/.test(line), header.length]).toEqual([false, 7]);
      const said = { msg: json.detail, cs2: json.patient, suser: json.who ?? json.id, duser: json.who === undefined || ['request', 'connection'].includes(json.event) ? undefined : json.id, requestMethod: json.method, deviceExternalId: json.device };
      for (const [key, value] of Object.entries(said)) expect([key, extension[key]]).toEqual([key, value === undefined ? undefined : fittingText(value)]);
    }), { numRuns: RUNS });
  });

  test('what would end a field or a key does not', () => {
    const { extension } = parse(forms.cef(placed({ ...SORTS['role denied']?.record as AuditRecord, detail: 'a|b\\c=d src=10.0.0.1\nact=permitted' })) ?? '');
    expect(extension).toMatchObject({ msg: 'a|b\\c=d src=10.0.0.1 act=permitted', act: 'denied', src: '192.0.2.7' });
  });

  test('an address of IPv6 has its own key', () => {
    const { extension } = parse(forms.cef(placed(SORTS['read by IPv6']?.record as AuditRecord)) ?? '');
    expect([extension['src'], extension['c6a2']]).toEqual([undefined, '2001:db8::7']);
  });
});

describe('what staff does about somebody', () => {
  const record: AuditRecord = { ...SORTS['emergency withdrawn']?.record as AuditRecord, role: 'doctor', id: 'Dr Wang', address: '192.0.2.7' };
  const { id: other = '' } = JSON.parse(forms.json(placed(record)) ?? '') as AuditRecord;

  test('CEF: is theirs, and whom it is about is its destination', () => {
    const cef = forms.cef(placed(record)) ?? '';
    expect(cef).toContain(` dst=192.0.2.7 suser=security duser=${other} dpriv=doctor `);
    expect(cef).not.toMatch(/ (?:src|spriv)=/);
    expect(forms.cef(placed({ ...record, address: '2001:db8::7' }))).toContain(' c6a3=2001:db8::7 c6a3Label=Destination IPv6 Address ');
  });

  test('FHIR: is theirs as the agents say, and whom it is about is an entity', () => {
    const { agent, entity } = forms.fhir(placed(record)) as AuditEvent;
    expect(agent.map(({ who, requestor }) => [who?.identifier?.value ?? who?.display, requestor])).toEqual([['security', true], ['gateway-1', false]]);
    expect(entity).toContainEqual(expect.objectContaining({ what: { type: 'Person', identifier: { value: other }, display: other }, role: expect.objectContaining({ code: '11' }), detail: expect.arrayContaining([{ type: 'role', valueString: 'doctor' }, { type: 'address', valueString: '192.0.2.7' }]) }));
    expect(entity).toContainEqual(expect.objectContaining({ what: expect.objectContaining({ identifier: { value: record.fingerprint } }), role: expect.objectContaining({ code: '13' }) }));
  });

  test('DICOM: is theirs as the participants say, and whom it is about is an object', () => {
    const message = forms.dicom(placed(record)) ?? '';
    expect([...message.matchAll(/<ActiveParticipant UserID="([^"]*)"/g)].map(([, user]) => user)).toEqual(['security', 'gateway-1']);
    expect(message).toContain(`<ParticipantObjectIdentification ParticipantObjectID="${other}" ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="11">`);
  });
});

describe('masked', () => {
  /** A form and all that is encoded in it. */
  function revealed(form: string): string {
    const decoded = [...form.matchAll(/[A-Za-z0-9+/]{8,}={0,2}/g)].map(([text]) => Buffer.from(text, 'base64').toString());
    return [form, ...decoded].map((text) => `${text}\n${unescaped(text)}`).join('\n').toLowerCase();
  }

  function unescaped(text: string): string {
    return text.replace(/(?:%[0-9a-f]{2})+/gi, (octets) => Buffer.from(octets.replaceAll('%', ''), 'hex').toString());
  }

  test.each(['json', 'fhir', 'dicom', 'cef'] as const)('%s holds none of what records hold of persons', (form) => {
    fc.assert(fc.property(anyRecord, (record) => {
      const text = forms[form](placed(record));
      const all = revealed(typeof text === 'string' ? text : JSON.stringify(text));
      expect(SECRETS.filter((secret) => all.includes(secret.toLowerCase()))).toEqual([]);
    }), { numRuns: RUNS });
  });
});
