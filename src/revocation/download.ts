import { request } from 'undici';
import type { Dispatcher } from 'undici';

export interface DownloadOptions {
  readonly dispatcher: Dispatcher;
  /** The end of all patience, for the answer as a whole. */
  readonly signal: AbortSignal;
  readonly maxOctets: number;
  /** Validators of the copy at hand: an answer that nothing changed is enough then. */
  readonly etag?: string;
  readonly lastModified?: string;
  /** Why a URL that a redirect leads to is not fetched; undefined when it may be. */
  readonly refuse: (url: string) => string | undefined;
}

/** What came of a request. It is somebody else's text: whatever the bytes claim to be, they have not been looked at. */
export type Download =
  | { readonly kind: 'fresh'; readonly bytes: Uint8Array; readonly etag?: string; readonly lastModified?: string }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'failed'; readonly detail: string };

const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** A validator goes back to the server as it came, so it must be a header's value and no more than that. */
const VALIDATOR = /^[\x21-\x7e ]{1,200}$/;

/** Fetches a file with one GET, conditional when a copy is at hand. Never rejects. */
export async function download(url: string, options: DownloadOptions): Promise<Download> {
  try {
    return await follow(url, options, MAX_REDIRECTS);
  } catch (error) {
    return { kind: 'failed', detail: failureOf(error) };
  }
}

async function follow(url: string, options: DownloadOptions, redirects: number): Promise<Download> {
  const { dispatcher, signal, maxOctets, etag, lastModified } = options;
  const headers = {
    'user-agent': 'wardgate', 'accept-encoding': 'identity',
    ...(etag === undefined ? {} : { 'if-none-match': etag }), ...(lastModified === undefined ? {} : { 'if-modified-since': lastModified }),
  };
  const response = await request(url, { method: 'GET', headers, dispatcher, signal });
  // Its errors belong to whoever reads it; when nobody does, they must not end the process.
  response.body.on('error', () => undefined);
  const { statusCode: status } = response;
  if (status === 200) return await read(response, maxOctets);
  response.body.destroy();
  if (status === 304) return etag === undefined && lastModified === undefined ? failed('HTTP status 304 to a request without conditions') : { kind: 'unchanged' };
  const location = one(response.headers['location']);
  if (!REDIRECTS.has(status) || location === undefined) return failed(`HTTP status ${status}`);
  const next = URL.parse(location, url);
  // A server may move a file; sending us to another host is how an attacker on the way would make us call one.
  if (next === null || next.hostname !== new URL(url).hostname) return failed('redirected to another host');
  const refusal = redirects === 0 ? 'too many redirects' : options.refuse(next.href);
  return refusal === undefined ? follow(next.href, options, redirects - 1) : failed(refusal);
}

async function read({ body, headers }: Dispatcher.ResponseData, maxOctets: number): Promise<Download> {
  try {
    const encoding = one(headers['content-encoding']) ?? 'identity';
    // We asked for none, and unpacking a stranger's archive is one more way to run out of memory.
    if (encoding !== 'identity') return failed(`content-encoding ${encoding.slice(0, 40)}`);
    const announced = Number(one(headers['content-length']) ?? 0);
    if (announced > maxOctets) return failed(`longer than ${maxOctets} octets`);
    const chunks: Uint8Array[] = [];
    let octets = 0;
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      octets += chunk.length;
      if (octets > maxOctets) return failed(`longer than ${maxOctets} octets`);
      chunks.push(chunk);
    }
    return { kind: 'fresh', bytes: joined(chunks, octets), ...validators(headers) };
  } finally {
    body.destroy();
  }
}

/** One array with a buffer of its own, so that it can be handed to another thread whole. */
function joined(chunks: readonly Uint8Array[], octets: number): Uint8Array {
  const bytes = new Uint8Array(octets);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function validators(headers: Dispatcher.ResponseData['headers']): { etag?: string; lastModified?: string } {
  const etag = one(headers['etag']);
  const lastModified = one(headers['last-modified']);
  return {
    ...(etag === undefined || !VALIDATOR.test(etag) ? {} : { etag }),
    ...(lastModified === undefined || !VALIDATOR.test(lastModified) ? {} : { lastModified }),
  };
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function failed(detail: string): Download {
  return { kind: 'failed', detail };
}

function failureOf(error: unknown): string {
  const { name, message, cause } = error as Error;
  if (name === 'TimeoutError') return 'not fetched in time';
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}
