import { UNCHANGEABLE } from '../src/config/unchangeable.ts';
import { configJsonSchema } from '../src/config/json-schema.ts';
import { parseConfig } from '../src/config/load.ts';

/** The parts of a JSON Schema that the configuration's uses. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | false;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

interface Row {
  readonly key: string;
  readonly value: string;
  readonly standard: string;
  readonly meaning: string;
}

const head = `# Configuration

Made from the parser's own schema by \`node scripts/write-docs.ts\`; a test holds that it is up to date. The same schema, for editors:
[\`config/wardgate.schema.json\`](../config/wardgate.schema.json). A whole example: [\`config/wardgate.example.yaml\`](../config/wardgate.example.yaml).

YAML, one document. An unknown key is an error. \`wardgate check\` reads
the file and every file it names and prints each issue with line and column. Paths are relative to the file. Durations are written
\`500ms 30s 10m 12h 7d\`, sizes \`512B 64KiB 1MiB 2GiB\`, rates \`10/second 100/minute 50/hour 200/day\`. **Bold** keys must be given where their section is; \`[]\` stands for each
item of a list, \`[kind: syslog]\` for each that is of this kind, \`*\` for a name of your choice.

${UNCHANGEABLE.map((key) => `\`${key}\`${key === 'audit' ? ' (but for its sinks)' : ''}`).join(', ')} cannot change without a restart; everything else can, by \`SIGHUP\` or \`wardgate reload\`.
A file that cannot be taken leaves the old configuration serving.
`;

/** What a pattern of the schema means to a reader. */
const WORDS: readonly (readonly [start: string, word: string])[] = [
  ['^(\\d{1,9})(ms', 'duration'], ['^(\\d{1,12})(B', 'size'], ['^(?:\\d{1,3}%', 'share or size'], ['^([1-9]\\d{0,8})\\/', 'rate'], ['^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_.-]+):', 'HOST:PORT'],
  ['^(100|', 'percentage'], ['^([1-5]', 'status'],
  ['^(https|tls)', 'URL'], ['^https?', 'URL'], ['^[A-Z][A-Z-]', 'method'], ['^[A-Za-z][A-Za-z0-9-]', 'header name'], ['^[A-Za-z0-9]', 'name'],
  ['^[^\\0]', 'path'], ['^[\\s\\S]', 'pattern'],
];

// What the schema cannot say about itself, because it is computed from the text, is read off a configuration that says nothing.
const SILENT = `
listeners: [{ name: a, address: "127.0.0.1:0", tls: { certificates: [{ certificate: c, key: k }] }, client_auth: { trust: [t] } }]
routes: [{ name: r, match: {}, allow: [public], upstream: u }]
upstreams: { u: { endpoints: ["https://u"], tls: { trust: t } } }
`;

/** The text of docs/configuration.md. */
export function configurationDocs(): string {
  const schema = configJsonSchema() as Schema;
  const top = (name: string): Schema => schema.properties?.[name] ?? {};
  const [https = {}, tcp = {}, redirect = {}] = top('listeners').items?.oneOf ?? [];
  const sections: readonly (readonly [title: string, rows: readonly Row[]])[] = [
    ['The process', ['state', 'threads', 'limits', 'networks', 'aliases', 'audit', 'admin', 'metrics', 'store', 'tracing'].flatMap((name) => rowsOf(name, top(name), false))],
    ['Alarms, and warnings of what ends', ['alarms', 'expiry'].flatMap((name) => rowsOf(name, top(name), false))],
    ['Backups', rowsOf('backup', top('backup'), false)],
    ['`listeners[]`, protocol `https`', members('listeners[]', https)],
    ['`listeners[]`, protocol `tcp`; `tls` and `client_auth` as for `https`', members('listeners[]', tcp).filter(({ key }) => !/`(tls|client_auth)\./.test(key))],
    ['`listeners[]`, protocol `redirect`', members('listeners[]', redirect)],
    ['`revocation`', members('revocation', top('revocation'))],
    ['`roles[]`', members('roles[]', top('roles').items)],
    ['Beside `roles`', ['inherits', 'trust_domains'].flatMap((name) => rowsOf(name, top(name), false))],
    ['Devices, and systems that tell', ['devices', 'webhooks'].flatMap((name) => rowsOf(name, top(name), false))],
    ['Second factors', rowsOf('second_factor', top('second_factor'), false)],
    ['Issuers of tokens', rowsOf('tokens', top('tokens'), false)],
    ['`routes[]`', members('routes[]', top('routes').items)],
    ['`upstreams.*`', members('upstreams.*', top('upstreams').additionalProperties || undefined)],
  ];
  return `${head}${sections.map(([title, rows]) => section(title, rows)).join('')}`;
}

function section(title: string, rows: readonly Row[]): string {
  const lines = rows.map(({ key, value, standard, meaning }) => `| ${key} | ${value} | ${standard} | ${meaning} |`);
  return `\n## ${title}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n${lines.join('\n')}\n`;
}

function members(path: string, schema: Schema | undefined): Row[] {
  return Object.entries(schema?.properties ?? {}).flatMap(([name, member]) => rowsOf(`${path}.${name}`, member, schema?.required?.includes(name) ?? false));
}

function rowsOf(path: string, schema: Schema, required: boolean): Row[] {
  const shortened = path.replace(/^(listeners\[\]|routes\[\]|roles\[\]|upstreams\.\*|revocation)\./, '');
  const row = {
    key: required ? `**\`${shortened}\`**` : `\`${shortened}\``,
    value: valueOf(schema),
    standard: standardOf(path, schema),
    meaning: schema.description ?? '',
  };
  return [row, ...below(path, schema)];
}

/** The rows of what a value holds: of a mapping, of each item of a list, of the form that is a mapping. */
function below(path: string, schema: Schema): Row[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((form) => (form.properties === undefined ? [] : members(path, form)));
  const { oneOf: kinds } = schema.items ?? {};
  if (kinds !== undefined) return kinds.flatMap((kind) => members(`${path}[${kindOf(kind)}]`, kind));
  if (schema.items?.anyOf !== undefined) return below(`${path}[]`, schema.items);
  if (schema.items?.properties !== undefined) return members(`${path}[]`, schema.items);
  if (schema.additionalProperties) return members(`${path}.*`, schema.additionalProperties);
  return members(path, schema);
}

/** What tells a kind from the others of its list: the key with a value of its own. */
function kindOf({ properties = {} }: Schema): string {
  const [[key, { const: value = '' }] = ['', {}]] = Object.entries(properties).filter(([, member]) => member.const !== undefined);
  return `${key}: ${value}`;
}

function valueOf(schema: Schema): string {
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(' ');
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map((form) => valueOf(form)))].join(', or ');
  switch (schema.type) {
    case 'array': return schema.items?.properties === undefined && schema.items?.oneOf === undefined ? `list of: ${valueOf(schema.items ?? {})}` : 'list';
    case 'object': return 'mapping';
    case 'string': return schema.pattern === undefined ? 'text' : WORDS.find(([start]) => schema.pattern?.startsWith(start))?.[1] ?? 'text';
    case 'integer':
    case 'number': return 'number';
    case 'boolean': return '`true` `false`';
    default: return '';
  }
}

function standardOf(path: string, schema: Schema): string {
  const value = schema.default ?? (schema.const === undefined ? silentValue(path) : undefined);
  if (value === undefined || (typeof value === 'object' && Object.keys(value as object).length === 0)) return '';
  return `\`${Array.isArray(value) ? `[${value.join(', ')}]` : String(value)}\``;
}

/** The value a key gets in a configuration that does not mention it, where that is a text. */
function silentValue(path: string): string | undefined {
  const parsed = parseConfig(SILENT, 'silent.yaml', { cores: 1 });
  if (parsed.kind === 'invalid') throw new Error(parsed.issues.map(({ message }) => message).join('; '));
  let value: unknown = parsed.config;
  for (const step of path.replaceAll('[]', '.0').replace('upstreams.*', 'upstreams.u').split('.')) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  const given = SILENT.includes(`${path.split('.').at(-1) ?? ''}:`);
  return typeof value === 'string' && !given ? value : undefined;
}
