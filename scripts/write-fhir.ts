import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Writes what FHIR R4 says of patients' compartments into src. The definitions (CC0) are published in the package
// hl7.fhir.r4.examples 4.0.1: unpack it, then: node scripts/write-fhir.ts DIRECTORY/package

interface SearchParameter {
  readonly version?: string;
  readonly code: string;
  readonly type: string;
  readonly base?: readonly string[];
  readonly expression?: string;
  readonly target?: readonly string[];
}

interface StructureDefinition {
  readonly type: string;
  readonly kind: string;
  readonly abstract: boolean;
  readonly derivation?: string;
  readonly snapshot: { readonly element: readonly { readonly type?: readonly { readonly code: string; readonly targetProfile?: readonly string[] }[] }[] };
}

interface CompartmentDefinition {
  readonly version: string;
  readonly resource: readonly { readonly code: string; readonly param?: readonly string[] }[];
}

/** Types that say something of one person although none of their elements refers to a patient, or that may name one in a text that is no reference. */
const INDIRECT = new Set(['Bundle', 'CatalogEntry', 'DeviceMetric', 'EnrollmentResponse', 'OperationOutcome', 'Subscription', 'TestReport']);
/**
 * Questionnaires refer to anything only in their defaults. Devices may name a patient, which is looked at: a route may share those
 * that name none, or this one.
 */
const LOOKED_AT = ['Questionnaire', 'Device'];

const directory = process.argv[2] ?? '.';
const published = readdirSync(directory);
const parameters = read<SearchParameter>('SearchParameter-').filter(({ version, base }) => version === '4.0.1' && base !== undefined);
const structures = read<StructureDefinition>('StructureDefinition-').filter(({ kind, abstract, derivation }) => kind === 'resource' && !abstract && derivation === 'specialization');
const [compartment] = read<CompartmentDefinition>('CompartmentDefinition-patient.json');
if (compartment?.version !== '4.0.1') throw new Error('no CompartmentDefinition of FHIR 4.0.1 there');

const types = structures.map(({ type }) => type).sort();
const table = new Map(compartment.resource.filter(({ param }) => param !== undefined).map(({ code, param = [] }) => {
  const elements = [...new Set(param.flatMap((name) => elementsOf(code, only(code, name))))];
  return [code, { elements, search: bindingParameters(code, elements) }] as const;
}));
const shareable = [...types.filter((type) => !table.has(type) && !mayReferToPatients(type) && !INDIRECT.has(type)), ...LOOKED_AT].sort();

writeFileSync(new URL('../src/policy/fhir/r4.ts', import.meta.url), `// Written by scripts/write-fhir.ts from the definitions of FHIR R4 (4.0.1, CC0): CompartmentDefinition/patient, the search parameters
// that it names, and the list of resource types.

export interface Membership {
  /** The elements of which one must refer to the patient, as paths; arrays on the way are passed through. */
  readonly elements: readonly string[];
  /**
   * The search parameters that look at nothing but these elements. \`id\`: their values name patients only, so that a bare id will do;
   * \`reference\`: the value must say that it is a patient's.
   */
  readonly search: Readonly<Record<string, 'id' | 'reference'>>;
}

/** The resource types that a patient's compartment is made of. */
export const COMPARTMENT: ReadonlyMap<string, Membership> = new Map<string, Membership>([
${[...table].map(([type, { elements, search }]) => `  ['${type}', { elements: [${elements.map((element) => `'${element}'`).join(', ')}], search: { ${search} } }],`).join('\n')}
]);

/** Every resource type of R4. */
export const RESOURCE_TYPES: ReadonlySet<string> = new Set([
${lines(types)}
]);

/** The resource types that are in nobody's compartment, and do not name patients. */
export const UNRELATED_TYPES: ReadonlySet<string> = new Set([
${lines(shareable)}
]);
`);
writeFileSync(new URL('../src/config/fhir-shareable.ts', import.meta.url), `// Written by scripts/write-fhir.ts from the definitions of FHIR R4 (4.0.1, CC0).

/** The resource types of R4 that are in nobody's compartment, and do not name patients: a route may share them. */
export const SHAREABLE_TYPES = [
${lines(shareable)}
] as const;
`);

function read<T>(beginning: string): T[] {
  return published.filter((name) => name.startsWith(beginning) && name.endsWith('.json')).map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as T);
}

function only(type: string, code: string): SearchParameter {
  const found = parameters.filter((one) => one.code === code && one.base?.includes(type) === true);
  if (found.length !== 1) throw new Error(`${type} has ${found.length} search parameters named ${code}`);
  return found[0] as SearchParameter;
}

/** The paths that an expression has for a type, without the type's name. */
function elementsOf(type: string, { expression = '' }: SearchParameter): string[] {
  return expression.split('|').map((part) => part.trim().replace(/\.where\(resolve\(\) is Patient\)$/, '')).filter((part) => part.startsWith(`${type}.`))
    .map((part) => {
      const path = part.slice(type.length + 1);
      if (!/^[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)*$/.test(path)) throw new Error(`an expression that is no path: ${part}`);
      return path;
    });
}

function bindingParameters(type: string, elements: readonly string[]): string {
  return parameters.filter((one) => one.type === 'reference' && one.base?.includes(type) === true)
    .filter((one) => mentions(type, one) && elementsOf(type, one).every((path) => elements.includes(path)))
    .map(({ code, target = [] }) => `${/^[a-z]+$/.test(code) ? code : `'${code}'`}: '${code === 'patient' || target.join() === 'Patient' ? 'id' : 'reference'}'`).sort().join(', ');
}

function mentions(type: string, { expression = '' }: SearchParameter): boolean {
  const own = expression.split('|').map((part) => part.trim()).filter((part) => part.includes(`${type}.`));
  return own.length > 0 && own.every((part) => /^[A-Za-z.]+(\.where\(resolve\(\) is Patient\))?$/.test(part));
}

function mayReferToPatients(type: string): boolean {
  const elements = structures.find((one) => one.type === type)?.snapshot.element ?? [];
  return elements.flatMap((element) => element.type ?? []).filter(({ code }) => code === 'Reference')
    .some(({ targetProfile = [] }) => targetProfile.length === 0 || targetProfile.some((profile) => /\/(Patient|Person|RelatedPerson|Group|Resource|DomainResource)$/.test(profile)));
}

function lines(names: readonly string[]): string {
  const rows: string[] = [];
  for (const name of names) {
    const last = rows.at(-1);
    if (last === undefined || last.length + name.length > 150) rows.push(`  '${name}',`);
    else rows[rows.length - 1] = `${last} '${name}',`;
  }
  return rows.join('\n');
}
