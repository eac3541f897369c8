import type { CrlAuthorities } from './crl-load.ts';
import type { CrlSource } from './crl-sources.ts';
import type { CrlHandle } from './crl-handle.ts';

/** A source as it stands in the state directory, in front of the CRL's own bytes. */
interface Head {
  readonly kind: CrlSource['kind'];
  readonly since: number;
  readonly succeeded_at: number;
  readonly etag?: string;
  readonly last_modified?: string;
  /** Base64 of DER. They are no authority for being here: a path to an anchor is still looked for. */
  readonly issuers: readonly string[];
}

/** What is kept of a source beside its bytes; `at` is when they came. */
export function writeSource(source: CrlSource, { etag, lastModified }: { etag: string | undefined; lastModified: string | undefined }, at: number): Head {
  return {
    kind: source.kind, since: source.since, succeeded_at: at,
    ...(etag === undefined ? {} : { etag }), ...(lastModified === undefined ? {} : { last_modified: lastModified }),
    issuers: [...source.issuers.values()].map((der) => Buffer.from(der).toString('base64')),
  };
}

/** The source that a kept file is of; undefined when it is none. */
export function readSource(url: string, head: unknown): CrlSource | undefined {
  const { kind, since, succeeded_at: succeededAt, etag, last_modified: lastModified, issuers } = (head ?? {}) as Partial<Head>;
  if ((kind !== 'url' && kind !== 'distribution_point') || typeof since !== 'number' || typeof succeededAt !== 'number' || !Array.isArray(issuers)) return undefined;
  return {
    url, kind, since, succeededAt, failures: 0, attempts: 0,
    issuers: new Map(issuers.map((text: string, index) => [String(index), new Uint8Array(Buffer.from(text, 'base64'))])),
    ...(etag === undefined ? {} : { etag }), ...(lastModified === undefined ? {} : { lastModified }),
  };
}

/** A source with the validity of what is in use from it; without anything in use also without conditions to fetch it by. */
export function withValidity(source: CrlSource, handles: readonly CrlHandle[] = []): CrlSource {
  const { etag, lastModified, validity: _, ...rest } = source;
  if (handles.length === 0) return rest;
  return { ...rest, validity: validityOf(handles), ...(etag === undefined ? {} : { etag }), ...(lastModified === undefined ? {} : { lastModified }) };
}

/** Of several CRLs from one place: the one that ends first. */
export function validityOf(handles: readonly CrlHandle[]): { readonly thisUpdate: number; readonly nextUpdate: number } {
  return {
    thisUpdate: Math.min(...handles.map(({ thisUpdate }) => thisUpdate)),
    nextUpdate: Math.min(...handles.map(({ nextUpdate }) => nextUpdate)),
  };
}

/** The realms with the issuers that certificates brought: helpers to verify by, never anchors. */
export function withIssuers(realms: readonly CrlAuthorities[], sources: readonly CrlSource[]): readonly CrlAuthorities[] {
  const issuers = sources.flatMap((source) => [...source.issuers.values()]);
  return issuers.length === 0 ? realms : realms.map(({ anchors, intermediates }) => ({ anchors, intermediates: [...intermediates, ...issuers] }));
}
