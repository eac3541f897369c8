import { z } from 'zod';
import type { AdminCall } from './call.ts';
import { CALLS } from './calls.ts';

/** Of the interface: the first number is that of the paths. */
const API_VERSION = '1.0.0';

type Json = Readonly<Record<string, unknown>>;

const PROBLEM: Json = {
  type: 'object', required: ['type', 'title', 'status', 'code', 'request_id'],
  properties: {
    type: { type: 'string' }, title: { type: 'string' }, status: { type: 'integer' }, code: { type: 'string' }, request_id: { type: 'string' },
    detail: { type: 'string', description: 'What is wrong, for the operator.' },
  },
};

/** Statuses that are no answers: what each means here. */
const REFUSALS: Readonly<Record<string, string>> = {
  400: 'What was sent does not fit the description, or its origin is another page.', 401: 'No certificate was shown.', 403: 'The certificate is refused, or its role may not do this.',
  404: 'No such call.', 409: 'What it is about is not there, or not in the state for it.', 413: 'More than 64 KiB.', 429: 'Too many calls of this certificate.', 500: 'It could not be done; detail says why.',
  503: 'Too many calls of this certificate wait for their answers, or it has too many live streams.',
};

/** What the listener refuses as it does to everybody, before it is a call: 408, 421, 431. */
const OTHER = 'Refused before it was a call: made for another host, too late, or a header that is too large.';

/** The description of the admin API (OpenAPI 3.1), from the same schemas that check what comes in. */
export function openApi(): Json {
  const offered = CALLS.filter(({ local }) => local !== true);
  const paths = new Map<string, Json>();
  for (const row of offered) paths.set(row.path, { ...paths.get(row.path), [row.method.toLowerCase()]: operation(row) });
  return {
    openapi: '3.1.1',
    info: {
      title: 'Wardgate admin API', version: API_VERSION,
      description: 'Served to the holders of operators\' certificates, by mutual TLS, on the listener that `admin.listener` names. The certificate decides the role: `read_only` may look, `operator` may also change. Who changes something is taken from the certificate; why must be said and goes on record.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ certificate: [] }],
    tags: [...new Set(offered.map(tagOf))].map((name) => ({ name })),
    paths: { ...Object.fromEntries(paths), '/v1/live': { get: LIVE }, '/v1/openapi.json': { get: DESCRIPTION } },
    components: {
      securitySchemes: { certificate: { type: 'mutualTLS', description: 'An operator\'s client certificate.' } },
      schemas: { Problem: PROBLEM },
      responses: Object.fromEntries([...Object.entries(REFUSALS).map(([status, description]) => [`R${status}`, description] as const), ['Other', OTHER] as const].map(([name, description]) => [name, { description, content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } }])),
    },
  };
}

/** The same as text, as config/admin-api.json has it. */
export function openApiText(): string {
  return `${JSON.stringify(openApi(), undefined, 2)}\n`;
}

const DESCRIPTION: Json = {
  operationId: 'getOpenapi', summary: 'This description', tags: ['openapi'], 'x-role': 'read_only',
  responses: { 200: { description: 'OpenAPI 3.1.', content: { 'application/json': { schema: { type: 'object' } } } }, ...refusals(['400', '401', '403', '429']) },
};

const LIVE: Json = {
  operationId: 'getLive', summary: 'The last quarter of an hour in samples of two seconds (event: history), then each sample as it comes (server-sent events)', tags: ['live'], 'x-role': 'read_only',
  responses: { 200: { description: 'A stream that lasts an hour at most.', content: { 'text/event-stream': { schema: { type: 'string' } } } }, ...refusals(['400', '401', '403', '429', '503']) },
};

function tagOf({ path }: AdminCall): string {
  return path.split('/')[2] as string;
}

function operation(row: AdminCall): Json {
  const { method, path, summary, role, input, output } = row;
  return {
    operationId: nameOf(method, path), summary, tags: [tagOf(row)], 'x-role': role,
    ...(input === undefined ? {} : method === 'GET' ? { parameters: parametersOf(input) } : { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(input, 'input') } } } }),
    responses: {
      200: { description: 'Done.', content: { 'application/json': { schema: schemaOf(output, 'output') } } },
      ...refusals(['400', '401', '403', '409', ...(input === undefined ? [] : ['413']), '429', '500', '503']),
    },
  };
}

function refusals(statuses: readonly string[]): Json {
  return Object.fromEntries([...statuses.map((status) => [status, `R${status}`] as const), ['default', 'Other'] as const].map(([status, name]) => [status, { $ref: `#/components/responses/${name}` }]));
}

function nameOf(method: string, path: string): string {
  const words = path.split('/').slice(2).flatMap((part) => part.split(/[^a-z0-9]/));
  return method.toLowerCase() + words.map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`).join('');
}

/** Each property of an object is a parameter. */
function parametersOf(input: z.ZodType): readonly Json[] {
  const { properties = {}, required = [] } = schemaOf(input, 'input') as { readonly properties?: Json; readonly required?: readonly string[] };
  return Object.entries(properties).map(([name, schema]) => {
    const { description, ...rest } = schema as Json;
    return { name, in: 'query', required: required.includes(name), ...(description === undefined ? {} : { description }), schema: rest };
  });
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, '~standard': __, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-2020-12' }) as Json;
  return rest;
}
