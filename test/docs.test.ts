import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { configurationDocs } from '../scripts/configuration-docs.ts';

const project = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(project, file), 'utf8');

test('docs/configuration.md is what the schema says (node scripts/write-docs.ts makes it anew)', () => {
  expect(read('docs/configuration.md')).toBe(configurationDocs());
});

test('docs/configuration.md has every section of the schema', () => {
  const { properties } = JSON.parse(read('config/wardgate.schema.json')) as { properties: object };
  const text = read('docs/configuration.md');
  expect(Object.keys(properties).filter((name) => !new RegExp(`\`${name}(?:\\[\\]|\\.\\*)?\``).test(text))).toEqual([]);
});

test('docs/configuration.md has the keys of every kind of what comes in kinds, and no value without a type', () => {
  const rows = [...read('docs/configuration.md').matchAll(/^\| (\S[^|]*?) \| ([^|]*?) \| ([^|]*?) \| (.*) \|$/gm)].map(([, key = '', value, standard, meaning]) => ({ key, value, standard, meaning }));
  const row = (key: string): unknown => rows.find((one) => one.key === key);
  expect(row('`audit.sinks`')).toMatchObject({ value: 'list' });
  expect(row('**`audit.sinks[kind: syslog].receiver`**')).toMatchObject({ meaning: expect.stringContaining('RFC 5425') });
  expect(row('**`audit.sinks[kind: fhir].tls.trust`**')).toMatchObject({ value: 'path, or list of: path' });
  expect(row('`audit.sinks[kind: file].form`')).toMatchObject({ value: '`json` `cef` `dicom`', standard: '`json`' });
  expect(row('**`alarms.channels[kind: mail].kind`**')).toMatchObject({ value: '`mail`', standard: '' });
  expect(row('**`alarms.channels[kind: webhook].secret_file`**')).toMatchObject({ value: 'path' });
  expect(row('`alarms.channels[kind: syslog].timeout`')).toMatchObject({ value: 'duration', standard: '`15s`' });
  expect(rows.filter(({ value }) => value === '' || value?.endsWith(': ') || value === 'list of:')).toEqual([]);
});

test('docs/dependencies.md names every dependency, and no other', () => {
  const { dependencies, devDependencies, optionalDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
  const rows = [...read('docs/dependencies.md').matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \|/gm)].flatMap(([, names = '']) => [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => name));
  expect(rows.sort()).toEqual([dependencies, devDependencies, optionalDependencies].flatMap((group) => Object.keys(group ?? {})).sort());
});

test('docs/operations.md lists every metric, audit field, reason and code', () => {
  const text = read('docs/operations.md');
  const metrics = [...read('src/admin/metrics.ts').matchAll(/name: '(wardgate_[a-z_]+)'/g)].map(([, name]) => name);
  const record = /export interface AuditRecord \{([\s\S]*?)\n\}/.exec(read('src/audit/record.ts'))?.[1] ?? '';
  const fields = [...record.matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name);
  const reasons = [.../export type Reason =([\s\S]*?);/.exec(read('src/policy/facts.ts'))?.[1]?.matchAll(/'(\w+)'/g) ?? []].map(([, name]) => name);
  const codes = [...read('src/forward/problem.ts').matchAll(/^  (\w+): \[\d{3},/gm)].map(([, name]) => name);
  expect([metrics, fields, reasons, codes].map((names) => names.length > 5)).toEqual([true, true, true, true]);
  expect([...metrics, ...fields, ...reasons, ...codes].filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
});

const PAGES = readdirSync(join(project, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(file: string): readonly string[] {
  const text = read(file).replace(/^```[\s\S]*?^```$/gm, '');
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, '').replaceAll(' ', '-'));
}

test.each(PAGES)('%s links to files and headings that exist', (file) => {
  const links = [...read(file).replace(/^ *```[\s\S]*?^ *```$/gm, '').matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, target = '', anchor]) => ({ target: target === '' ? file : join(file, '..', target), anchor }));
  expect(links.filter(({ target, anchor }) => !existsSync(join(project, target)) || (anchor !== undefined && !anchorsOf(target).includes(anchor)))).toEqual([]);
});
