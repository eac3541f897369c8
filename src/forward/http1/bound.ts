import type { ServerResponse } from 'node:http';
import type { Bond } from '../../policy/patient.ts';
import type { AnswerObjection } from '../answer-filter.ts';
import { boundHeaders, judgeBoundBody, wholeBody } from '../bond.ts';
import { deniedLate, type Exchange } from '../exchange.ts';
import type { Http1Exchange, Refusal, Spoiling } from './exchange.ts';

type Held = { readonly kind: 'held'; readonly octets: Buffer } | Spoiling | { readonly kind: 'client_left' };

/** The body of a bound request once all of it has come and been judged; its header section becomes that for the upstream. */
export async function holdBody(exchange: Http1Exchange, bond: Bond): Promise<Held> {
  const { request, response, asked } = exchange;
  const held = await Promise.race([wholeBody(request).then((octets) => ({ kind: 'held', octets }) as const), exchange.whenSpoilt, clientLeft(response)]);
  if (held.kind !== 'held') return held;
  const objection = judgeBoundBody(bond, request.headers, held.octets);
  if (objection !== undefined) return notForClient(exchange, objection);
  request.headers = boundHeaders(bond, request.headers, asked.method, held.octets);
  return held;
}

/** What becomes of a bound request of which nothing has been answered. */
export function notForClient(exchange: Exchange, objection: AnswerObjection): Refusal {
  return { kind: 'refusal', code: 'role_denied', verdict: deniedLate(exchange, objection) };
}

/** Resolves when an answer's connection is gone before it has left. */
export function clientLeft(response: ServerResponse): Promise<{ readonly kind: 'client_left' }> {
  return new Promise((resolve) => {
    if (response.destroyed) resolve({ kind: 'client_left' });
    response.once('close', () => resolve({ kind: 'client_left' }));
  });
}
