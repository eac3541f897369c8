import { parseHost } from '../../policy/host.ts';
import { parseTarget } from '../../policy/target.ts';
import type { Asked } from '../exchange.ts';
import { checkFields } from '../headers.ts';
import { latin1, startsWith } from '../octets.ts';
import { readRequestHead } from './request-head.ts';

/** A request head that has been read and found ordinary. Clients repeat themselves: it serves for every request of the same octets. */
export interface KnownHead {
  /** The head as it came, its blank line included. */
  readonly octets: Buffer;
  readonly asked: Asked;
  /** The host as it was written. */
  readonly host: string;
  readonly fields: readonly string[];
  readonly bodyLength: number;
  readonly close: boolean;
}

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);

const BLANK_LINE = '\r\n\r\n';

/** Reads the head of at most `most` octets that a connection's octets begin with; undefined for whatever only the general path should judge. */
export function readKnownHead(octets: Buffer, last: KnownHead | undefined, most: number): KnownHead | undefined {
  if (last !== undefined && startsWith(octets, last.octets)) return last.octets.length > most ? undefined : last;
  const end = octets.indexOf(BLANK_LINE) + BLANK_LINE.length;
  if (end < BLANK_LINE.length || end > most) return undefined;
  const head = readRequestHead(latin1(octets, 0, end));
  if (head.kind !== 'head') return undefined;
  const target = parseTarget(head.target);
  const host = parseHost(head.host);
  if (target.kind === 'malformed' || host.kind === 'malformed' || checkFields(head.fields).kind === 'malformed') return undefined;
  return {
    octets: Buffer.from(octets.subarray(0, end)), host: head.host, fields: head.fields, bodyLength: head.bodyLength, close: head.close,
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
