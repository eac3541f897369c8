import { sensitiveHeaders } from 'node:http2';

/** The fields of a received header section that whoever sent it wants in no compression table (RFC 7541 section 7.1.3). */
export function sensitiveOf(headers: object): readonly string[] {
  return (headers as Readonly<Record<symbol, readonly string[] | undefined>>)[sensitiveHeaders] ?? [];
}

/** Marks fields of a header section, which an intermediary must pass on as they came. */
export function markSensitive(head: string[], names: readonly string[]): string[] {
  return names.length === 0 ? head : Object.assign(head, { [sensitiveHeaders]: names });
}
