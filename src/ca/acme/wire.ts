import { request } from 'node:https';

export interface AcmeReply {
  readonly status: number;
  readonly body: string;
  readonly location?: string;
  readonly nonce?: string;
  /** ms, as the server asks for before it is asked again */
  readonly retryAfter?: number;
}

/** The server refused, broke the protocol, or could not be reached. */
export class AcmeError extends Error {
  /** The last part of the problem's URN (RFC 8555 section 6.7), such as `rateLimited`. */
  readonly problem: string | undefined;

  constructor(message: string, problem?: string, cause?: unknown) {
    super(message, { cause });
    this.problem = problem;
  }
}

const DEADLINE = 30_000;
/** Nobody waits longer, and no later a time can be written. */
const LONGEST_PAUSE = 366 * 86_400_000;
/** A chain of certificates is a few KiB. */
const LONGEST_ANSWER = 256 * 1024;

/** One request over a connection of its own. `trust`: anchors of the server's certificate, PEM; without, those of the runtime. Follows no redirect. Throws an AcmeError. */
export function send(url: string, { trust, body, head = false, signal }: { readonly trust?: string; readonly body?: string; readonly head?: boolean; readonly signal: AbortSignal }): Promise<AcmeReply> {
  return new Promise((done, fail) => {
    const failed = (error: Error): void => fail(error instanceof AcmeError ? error : new AcmeError(`${printable(url)}: ${detailOf(error)}`, undefined, error));
    // RFC 8555 section 6.1; the server chooses most of the URLs, and none of them leads out of TLS.
    if (!URL.canParse(url) || new URL(url).protocol !== 'https:') return failed(new AcmeError(`${printable(url)}: no https URL`));
    try {
      const outgoing = request(url, {
        method: head ? 'HEAD' : body === undefined ? 'GET' : 'POST', agent: false, signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE)]), minVersion: 'TLSv1.2', rejectUnauthorized: true,
        ...(trust === undefined ? {} : { ca: trust }),
        headers: { 'user-agent': 'wardgate', ...(body === undefined ? {} : { 'content-type': 'application/jose+json', 'content-length': Buffer.byteLength(body) }) },
      }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > LONGEST_ANSWER) outgoing.destroy(new Error('the answer is too long'));
        });
        response.on('error', failed);
        response.on('end', () => {
          const { location, 'replay-nonce': nonce, 'retry-after': after } = response.headers;
          const retryAfter = pauseOf(after);
          done({
            status: response.statusCode ?? 0, body: text, ...(location === undefined ? {} : { location }),
            ...(typeof nonce === 'string' && /^[\w-]+$/.test(nonce) ? { nonce } : {}), ...(retryAfter === undefined ? {} : { retryAfter }),
          });
        });
      });
      outgoing.on('error', failed);
      outgoing.end(body);
    } catch (error) {
      // A trust file without a certificate is found out here.
      failed(error as Error);
    }
  });
}

/** Seconds or a date (RFC 9110 section 10.2.3). */
function pauseOf(after: string | undefined): number | undefined {
  if (after === undefined) return undefined;
  const pause = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now();
  return pause >= 0 ? Math.min(pause, LONGEST_PAUSE) : undefined;
}

/** What a stranger says goes to a terminal and a log. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 300);
}

function detailOf(error: Error & { readonly code?: string; readonly errors?: readonly Error[] }): string {
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'no answer in time';
  const [first] = error.errors ?? [];
  return first?.message ?? (error.message === '' ? error.code ?? 'no connection' : error.message);
}
