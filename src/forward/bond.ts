import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { judgeBody } from '../policy/fhir/body.ts';
import type { Objection } from '../policy/fhir/compartment.ts';
import { isJson } from '../policy/fhir/query.ts';
import { judgeBeside } from '../policy/parameters.ts';
import type { Bond } from '../policy/patient.ts';
import type { RequestBody } from './message.ts';

/**
 * What is not asked of an upstream whose answer is judged: a part of it, or whether it has changed. Either would be told of resources
 * that turn out to be another's, without the resource. Nor is it asked for a compressed one.
 */
const NOT_FOR_JUDGED = ['range', 'if-range'];
const CONDITIONS = ['if-none-match', 'if-modified-since', 'if-match', 'if-unmodified-since'];

/** Why a bound client opens no tunnel. */
export const NO_TUNNEL: Objection = { kind: 'objection', reason: 'patient_unknown_shape', detail: 'a WebSocket, whose messages nobody judges' };

/** The header section for the upstream of a request that is bound, with the body that was judged. */
export function boundHeaders({ kind }: Bond, headers: IncomingHttpHeaders, method: string, body: Buffer): IncomingHttpHeaders {
  const judged = kind === 'fhir' ? [...NOT_FOR_JUDGED, ...(method === 'GET' ? CONDITIONS : [])] : [];
  const out = kind === 'fhir' ? { ...headers, accept: jsonOf(headers.accept), 'accept-encoding': 'identity' } : { ...headers };
  for (const name of [...judged, 'transfer-encoding', 'content-length']) delete (out as Record<string, unknown>)[name];
  return body.length === 0 && method !== 'POST' && method !== 'PUT' ? out : { ...out, 'content-length': String(body.length) };
}

/** What a client accepts that can be judged; servers that may choose answer browsers with pages, and others with XML. */
function jsonOf(accept: string | readonly string[] | undefined): string {
  const ranges = [accept ?? []].flat().join(',').split(',').map((range) => range.trim()).filter((range) => isJson(range));
  return ranges.length === 0 ? 'application/fhir+json' : ranges.join(', ');
}

/** Judges the whole body of a bound request. */
export function judgeBoundBody(bond: Bond, headers: IncomingHttpHeaders, body: Buffer): Objection | undefined {
  return bond.kind === 'fhir' ? judgeBody(bond.body, headers['content-type'], body, bond.rules) : judgeBeside(bond.parameter, bond.patient, body);
}

/** A body that has been read, to be sent; nothing where there is none. */
export function heldBody(octets: Buffer): { readonly body?: RequestBody } {
  if (octets.length === 0) return {};
  return { body: { stream: Readable.from([octets]), announced: false, whole: () => true, trailers: () => [] } };
}

/** All octets of a body that something else bounds. Open for ever when it does not end. */
export function wholeBody(stream: Readable): Promise<Buffer> {
  return new Promise((resolve) => {
    const octets: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => octets.push(chunk));
    stream.once('end', () => resolve(Buffer.concat(octets)));
    stream.resume();
  });
}
