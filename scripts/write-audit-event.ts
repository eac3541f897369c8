import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Writes what FHIR R4 says of an AuditEvent, of the types of its elements and of the codes that these are bound to, for the tests that
// hold our own to it. The definitions (CC0) are published in the package hl7.fhir.r4.examples 4.0.1: unpack it, then:
// node scripts/write-audit-event.ts DIRECTORY/package

interface StructureDefinition {
  readonly kind: string;
  readonly snapshot: { readonly element: readonly Element[] };
}

interface Element {
  readonly path: string;
  readonly min: number;
  readonly max: string;
  readonly type?: readonly { readonly code: string; readonly extension?: readonly { readonly url: string; readonly valueString?: string }[] }[];
  readonly binding?: { readonly strength: string; readonly valueSet?: string };
}

interface Concept {
  readonly code: string;
  readonly display?: string;
  readonly concept?: readonly Concept[];
}

interface ValueSet {
  readonly compose: { readonly include: readonly { readonly system?: string; readonly concept?: readonly Concept[] }[] };
}

const directory = process.argv[2] ?? '.';
const file = (name: string): string => join(directory, `${name}.json`);
const read = <Read>(name: string): Read => JSON.parse(readFileSync(file(name), 'utf8')) as Read;

const TYPES = ['AuditEvent', 'Meta', 'Coding', 'CodeableConcept', 'Reference', 'Identifier'];
const PRIMITIVES = ['instant', 'code', 'string', 'uri', 'canonical', 'base64Binary', 'id', 'boolean'];
/** Code systems whose displays are told, by the name of their file. */
const SYSTEMS = [
  'dicom-dcim', 'audit-event-type', 'audit-entity-type', 'object-role', 'audit-source-type', 'restful-interaction', 'v3-ParticipationType', 'v3-ActReason', 'v3-Confidentiality', 'provenance-participant-type',
];

const elements = TYPES.flatMap((type) => read<StructureDefinition>(`StructureDefinition-${type}`).snapshot.element)
  .filter(({ path }) => path.includes('.') && !/\.(?:id|extension|modifierExtension|contained|implicitRules|language)$|^AuditEvent\.text$/.test(path) || path === 'AuditEvent.id')
  .map(({ path, min, max, type = [], binding }) => ({
    path, min, max: max === '*' ? null : Number(max), types: type.map(({ code }) => (code.endsWith('System.String') ? 'id' : code)), ...bound(binding),
  }));
const patterns = Object.fromEntries(PRIMITIVES.map((type) => [type, patternOf(type)]));
const displays = Object.fromEntries(SYSTEMS.filter((name) => existsSync(file(`CodeSystem-${name}`))).map((name) => {
  const { url, concept } = read<{ url: string; concept: readonly Concept[] }>(`CodeSystem-${name}`);
  return [url, Object.fromEntries(flat(concept).map(({ code, display }) => [code, display ?? '']).filter(([code = '']) => name !== 'dicom-dcim' || /^110[1]\d\d$/.test(code)))];
}));

writeFileSync(new URL('../test/vectors/fhir-r4-audit-event.json', import.meta.url), `${JSON.stringify({
  source: 'FHIR R4 (4.0.1), CC0: written by scripts/write-audit-event.ts', elements, patterns, displays,
}, undefined, 1)}\n`);

function bound(binding: Element['binding']): object {
  const name = binding?.valueSet?.split('/').at(-1)?.split('|')[0];
  if (binding === undefined || name === undefined || !['required', 'extensible'].includes(binding.strength) || !existsSync(file(`ValueSet-${name}`))) return {};
  const include = read<ValueSet>(`ValueSet-${name}`).compose.include.flatMap(({ system, concept }) => (system === undefined || system.endsWith('resource-types') ? [] : [{ system, concept }]));
  return { strength: binding.strength, codes: include.map(({ system, concept }) => ({ system, codes: (concept ?? conceptsOf(system)).map(({ code }) => code) })) };
}

function conceptsOf(url: string): readonly Concept[] {
  const name = url.split('/').at(-1) ?? '';
  const known = name === 'security-source-type' ? 'audit-source-type' : name;
  return existsSync(file(`CodeSystem-${known}`)) ? flat(read<{ concept: readonly Concept[] }>(`CodeSystem-${known}`).concept) : [];
}

function flat(concepts: readonly Concept[]): readonly Concept[] {
  return concepts.flatMap((one) => [one, ...flat(one.concept ?? [])]);
}

function patternOf(type: string): string {
  const value = read<StructureDefinition>(`StructureDefinition-${type}`).snapshot.element.find(({ path }) => path === `${type}.value`);
  return value?.type?.[0]?.extension?.find(({ url }) => url.endsWith('/regex'))?.valueString ?? '';
}
