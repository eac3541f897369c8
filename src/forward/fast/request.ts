import { parseHost } from '../../policy/host.ts';
import { parseTarget } from '../../policy/target.ts';
import type { Asked } from '../exchange.ts';
import { checkFields } from '../headers.ts';
import { readRequestHead } from './request-head.ts';

/** A request head that has been read and found ordinary. Clients repeat themselves: it serves for every request of the same octets. */
export interface KnownHead {
  /** The head as latin1 text, its blank line included. */
  readonly text: string;
  readonly asked: Asked;
  /** The host as it was written. */
  readonly host: string;
  readonly fields: readonly string[];
  readonly bodyLength: number;
  readonly close: boolean;
}

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Reads a head, given as latin1 text up to its blank line; undefined for whatever only the general path should judge. */
export function readKnownHead(text: string): KnownHead | undefined {
  const head = readRequestHead(text);
  if (head.kind !== 'head' || head.length !== text.length) return undefined;
  const target = parseTarget(head.target);
  const host = parseHost(head.host);
  if (target.kind === 'malformed' || host.kind === 'malformed' || checkFields(head.fields).kind === 'malformed') return undefined;
  return {
    text, host: head.host, fields: head.fields, bodyLength: head.bodyLength, close: head.close,
    asked: { method: head.method, target, host, preflight: preflightMethod(head.method, head.fields), written: head.target, fields: head.fields, version: '1.1' },
  };
}

/** Whether a request may be sent a second time when its connection was lost before anything came back. */
export function isRepeatable({ asked, bodyLength }: KnownHead): boolean {
  return bodyLength === 0 && REPEATABLE.has(asked.method);
}

function preflightMethod(method: string, fields: readonly string[]): string | undefined {
  if (method !== 'OPTIONS') return undefined;
  return valueOf(fields, 'origin') === undefined ? undefined : valueOf(fields, 'access-control-request-method');
}

function valueOf(fields: readonly string[], wanted: string): string | undefined {
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === wanted) return fields[index + 1];
  return undefined;
}
