import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { Certificate } from 'pkijs';
import { z } from 'zod';
import { parseName, parseNameText, sameName } from '../pki/name.ts';
import type { NameText } from '../pki/name.ts';
import { readBody } from './http.ts';
import { listen } from './listen.ts';
import type { Bound } from './listen.ts';
import type { Records } from './records.ts';

const longestBody = 16 * 1024;
const futureAllowed = 5 * 60_000;

export interface RecordsApiOptions {
  readonly port: number;
  /** PEM: the API's own certificate and key. */
  readonly certificate: string;
  readonly key: string;
  /** PEM: the authority that the gateway's client certificate must come from. */
  readonly trust: string;
  /** The gateway's subject as RFC 4514 text; nobody else is served, whoever issued their certificate. */
  readonly gateway: string;
  readonly records: Records;
}

/**
 * The blood-pressure API: TLS only, and for the gateway only. It believes the gateway's `X-Client-Role` and `X-Client-Id` because
 * nothing else can connect.
 */
export async function startRecordsApi(options: RecordsApiOptions): Promise<Bound> {
  const gateway = parseNameText(options.gateway);
  const server = createServer(
    {
      cert: options.certificate, key: options.key, ca: options.trust, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2',
      requestTimeout: 30_000, headersTimeout: 10_000,
    },
    (request, response) => {
      handle(request, options.records, gateway).then((reply) => send(request, response, reply), () => send(request, response, problem(500, 'internal_error')));
    },
  );
  server.on('tlsClientError', (_, socket) => socket.destroy());
  return listen(server, options.port);
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

type Handler = (request: IncomingMessage, records: Records) => Promise<Reply>;

const handlers: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  '/records': { GET: newestRecords },
  '/upload': { POST: upload },
  '/checkin': { POST: checkIn },
  '/public/health': { GET: health },
};

async function handle(request: IncomingMessage, records: Records, gateway: NameText): Promise<Reply> {
  if (!isGateway(request.socket as TLSSocket, gateway)) return problem(403, 'not_the_gateway');
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const methods = Object.hasOwn(handlers, path) ? handlers[path] : undefined;
  if (methods === undefined) return problem(404, 'not_found');
  const method = request.method === 'HEAD' ? 'GET' : request.method ?? '';
  const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (handler === undefined) return { ...problem(405, 'method_not_allowed'), headers: { allow: Object.keys(methods).join(', ') } };
  return handler(request, records);
}

function isGateway(socket: TLSSocket, gateway: NameText): boolean {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) return false;
  const { subject } = Certificate.fromBER(certificate.raw);
  return sameName(parseName(new Uint8Array(subject.valueBeforeDecode)), gateway);
}

async function newestRecords(_: IncomingMessage, records: Records): Promise<Reply> {
  return { status: 200, body: { records: await records.newest(5) } };
}

async function health(_: IncomingMessage, records: Records): Promise<Reply> {
  try {
    await records.ping();
    return { status: 200, body: { status: 'ok' } };
  } catch {
    return { status: 503, body: { status: 'database unavailable' } };
  }
}

const patientId = z.string().regex(/^(urn:patient:)?[A-Za-z0-9][A-Za-z0-9.-]{0,47}$/, 'expected a patient id such as 1001').transform((id) => id.replace(/^urn:patient:/, ''));

const readingSchema = z.strictObject({
  patient: patientId.optional(),
  systolic: z.int().min(50).max(300),
  diastolic: z.int().min(20).max(200),
  pulse: z.int().min(20).max(300).optional(),
  measured_at: z.iso.datetime({ offset: true }).optional(),
}).refine(({ systolic, diastolic }) => systolic > diastolic, { path: ['diastolic'], message: 'expected less than systolic' });

async function upload(request: IncomingMessage, records: Records): Promise<Reply> {
  const parsed = await parseJsonBody(request, readingSchema);
  if (parsed.kind === 'refused') return parsed.reply;
  const { systolic, diastolic, pulse, measured_at, patient: named } = parsed.value;
  const sender = senderOf(request);
  const patient = patientOf(sender, named);
  if (patient.kind === 'refused') return patient.reply;
  const now = Date.now();
  const measured = measured_at === undefined ? now : Date.parse(measured_at);
  if (measured > now + futureAllowed) return problem(422, 'invalid', ['measured_at: expected a time that has passed']);
  const reading = { patient: patient.id, systolic, diastolic, pulse: pulse ?? null, measured_at: new Date(measured).toISOString(), source: sender.id };
  await records.add(reading);
  return { status: 201, body: reading };
}

interface Sender {
  readonly role: string;
  readonly id: string;
}

function senderOf(request: IncomingMessage): Sender {
  return { role: one(request.headers['x-client-role']), id: one(request.headers['x-client-id']) };
}

const one = (header: string | string[] | undefined): string => (typeof header === 'string' ? header : '');

/** A patient is who the gateway says; only a device may name one, since the people at a kiosk have no certificate. */
function patientOf(sender: Sender, named: string | undefined): { readonly kind: 'known'; readonly id: string } | { readonly kind: 'refused'; readonly reply: Reply } {
  const refused = (status: number, code: string, errors: readonly string[]) => ({ kind: 'refused', reply: problem(status, code, errors) } as const);
  if (sender.role === 'device') {
    return named === undefined ? refused(422, 'invalid', ['patient: expected, since a device measures many']) : { kind: 'known', id: named };
  }
  const own = sender.role === 'patient' ? patientId.safeParse(sender.id) : undefined;
  if (own?.success !== true) return refused(403, 'not_a_patient', []);
  if (named !== undefined && named !== own.data) return refused(403, 'other_patient', ['patient: another than the certificate names']);
  return { kind: 'known', id: own.data };
}

const checkInSchema = z.strictObject({ patient: patientId });

async function checkIn(request: IncomingMessage, records: Records): Promise<Reply> {
  const parsed = await parseJsonBody(request, checkInSchema);
  if (parsed.kind === 'refused') return parsed.reply;
  const sender = senderOf(request);
  if (sender.role !== 'device') return problem(403, 'not_a_device');
  const visit = { patient: parsed.value.patient, device: sender.id, at: new Date().toISOString() };
  await records.checkIn(visit);
  return { status: 201, body: visit };
}

type Parsed<T> = { readonly kind: 'parsed'; readonly value: T } | { readonly kind: 'refused'; readonly reply: Reply };

async function parseJsonBody<T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<Parsed<T>> {
  const refused = (reply: Reply): Parsed<T> => ({ kind: 'refused', reply });
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) return refused(problem(415, 'unsupported_media_type'));
  const body = await readBody(request, longestBody);
  if (body === undefined) return refused({ ...problem(413, 'body_too_large'), headers: { connection: 'close' } });
  const json = parseJson(body);
  if (json === undefined) return refused(problem(400, 'not_json'));
  const parsed = schema.safeParse(json);
  if (parsed.success) return { kind: 'parsed', value: parsed.data };
  return refused(problem(422, 'invalid', parsed.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`)));
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

function problem(status: number, code: string, errors: readonly string[] = []): Reply {
  return { status, body: { type: 'about:blank', status, code, ...(errors.length === 0 ? {} : { errors }) } };
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, headers }: Reply): void {
  if (response.destroyed) return;
  const text = JSON.stringify(body);
  const type = status >= 400 ? 'application/problem+json' : 'application/json';
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store', ...headers });
  response.end(request.method === 'HEAD' ? undefined : text);
}
