import { Agent, request } from 'node:https';
import type { AuditEvent } from '../forms/fhir.ts';
import type { FhirSetup } from './setup.ts';

/** What became of one AuditEvent. `refused`: it is this one that the repository will not have; `later`: it would have none at the moment. */
export interface Outcome {
  readonly kind: 'accepted' | 'refused' | 'later';
  readonly reason: string;
}

export interface Repository {
  /** Sends them, in one Bundle if there are several; rejects when there is no answer to be made sense of. */
  send(events: readonly AuditEvent[]): Promise<readonly Outcome[]>;
  close(): void;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const FHIR = 'application/fhir+json';
/** Answers to Bundles of 500 stay far below. */
const LONGEST_ANSWER = 16 << 20;
/** Statuses that say something of what was sent, and not of who sent it, where to, or how the repository is. */
const ABOUT_IT = new Set([400, 406, 409, 410, 411, 412, 413, 415, 422]);
const TAGS = 'urn:wardgate:audit';
const ACCEPTED: Outcome = { kind: 'accepted', reason: '' };

/** Opens the way to a FHIR R4 server, verified by the configured trust alone. */
export function openRepository({ url, serverName, trust, certificate, key, timeout, repeats }: FhirSetup): Repository {
  const agent = new Agent({
    keepAlive: true, maxSockets: 1, ca: trust, minVersion: 'TLSv1.2', rejectUnauthorized: true,
    ...(serverName === undefined ? {} : { servername: serverName }), ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
  });

  function call(method: string, path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    const octets = Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const outgoing = request(`${url}${path}`, {
        method, agent, signal: AbortSignal.timeout(timeout),
        headers: { 'content-type': FHIR, accept: FHIR, prefer: 'return=minimal', 'content-length': octets.length, ...headers },
      }, (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('data', (part: Buffer) => {
          length += part.length;
          if (length > LONGEST_ANSWER) outgoing.destroy(new Error(`an answer of more than ${LONGEST_ANSWER} octets`));
          else parts.push(part);
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }));
      });
      outgoing.on('error', (error) => reject(new Error(`${url}: ${error.name === 'AbortError' || error.name === 'TimeoutError' ? `no answer within ${timeout} ms` : error.message}`, { cause: error })));
      outgoing.end(octets);
    });
  }

  async function single(event: AuditEvent): Promise<Outcome> {
    const { status, body } = repeats === 'put'
      ? await call('PUT', `/AuditEvent/${event.id}`, event)
      : await call('POST', '/AuditEvent', tagged(event), { 'if-none-exist': condition(event) });
    return outcomeOf(status, body);
  }

  async function bundled(events: readonly AuditEvent[]): Promise<readonly Outcome[]> {
    const { status, body } = await call('POST', '', { resourceType: 'Bundle', type: 'batch', entry: events.map(entryOf) });
    // One of them may be why the whole was refused: which one, shows when each is sent by itself.
    if (ABOUT_IT.has(status)) return each(events);
    if (status < 200 || status > 299) return events.map(() => outcomeOf(status, body));
    const entries = entriesOf(body);
    if (entries.length !== events.length) throw new Error(`${url}: an answer with ${entries.length} entries to a Bundle of ${events.length}`);
    return entries.map(({ status: text, outcome }) => outcomeOf(Number.parseInt(text, 10) || 0, outcome));
  }

  async function each(events: readonly AuditEvent[]): Promise<readonly Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const event of events) outcomes.push(await single(event));
    return outcomes;
  }

  function entryOf(event: AuditEvent): object {
    return repeats === 'put'
      ? { resource: event, request: { method: 'PUT', url: `AuditEvent/${event.id}` } }
      : { resource: tagged(event), request: { method: 'POST', url: 'AuditEvent', ifNoneExist: condition(event) } };
  }

  return {
    send: (events) => (events.length === 1 ? each(events) : bundled(events)),
    close: () => agent.destroy(),
  };
}

/** AuditEvent has no identifier in R4; every resource can have a tag, and be searched by it. */
function tagged(event: AuditEvent & { readonly meta?: object }): object {
  return { ...event, meta: { ...event.meta, tag: [{ system: TAGS, code: event.id }] } };
}

function condition({ id }: AuditEvent): string {
  return `_tag=${encodeURIComponent(`${TAGS}|${id}`)}`;
}

function outcomeOf(status: number, body: string): Outcome {
  if (status >= 200 && status <= 299) return accepted(status, body);
  return { kind: ABOUT_IT.has(status) ? 'refused' : 'later', reason: `${status} ${body.replace(/\s+/g, ' ').slice(0, 300)}`.trim() };
}

/** A yes is nothing at all, or a resource. A page of somebody's in between is none, and one with errors in it is a no. */
function accepted(status: number, body: string): Outcome {
  if (body.trim() === '') return ACCEPTED;
  const reason = `${status} ${body.replace(/\s+/g, ' ').slice(0, 300)}`;
  const { resourceType, issue } = resourceOf(body) ?? {};
  if (typeof resourceType !== 'string') return { kind: 'later', reason: `an answer that is no FHIR: ${reason}` };
  const failed = resourceType === 'OperationOutcome' && Array.isArray(issue) && issue.some((one: { readonly severity?: unknown } | null) => one?.severity === 'error' || one?.severity === 'fatal');
  return failed ? { kind: 'refused', reason } : ACCEPTED;
}

function resourceOf(body: string): { readonly resourceType?: unknown; readonly issue?: unknown } | undefined {
  try {
    return JSON.parse(body) as { readonly resourceType?: unknown; readonly issue?: unknown } | null ?? undefined;
  } catch {
    return undefined;
  }
}

function entriesOf(body: string): readonly { readonly status: string; readonly outcome: string }[] {
  let bundle: { readonly entry?: readonly { readonly response?: { readonly status?: unknown; readonly outcome?: unknown } }[] };
  try {
    bundle = JSON.parse(body) as typeof bundle;
  } catch (error) {
    throw new Error('an answer to a Bundle that is no JSON', { cause: error });
  }
  const entries = Array.isArray(bundle.entry) ? bundle.entry as NonNullable<typeof bundle.entry> : [];
  return entries.map(({ response }) => ({ status: String(response?.status ?? ''), outcome: response?.outcome === undefined ? '' : JSON.stringify(response.outcome) }));
}
