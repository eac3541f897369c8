import { request } from 'node:https';

/** Who calls, and whom it believes. All PEM. */
export interface EstCaller {
  readonly certificate?: string;
  readonly key?: string;
  /** A value of the Authorization field, where there is no certificate yet. */
  readonly authorization?: string;
  /** Anchors of the server's certificate. */
  readonly trust: string;
}

export type EstReply =
  | { readonly kind: 'answer'; readonly status: number; readonly body: string; readonly retryAfter?: number }
  /** No answer at all. */
  | { readonly kind: 'unreachable'; readonly detail: string };

const DEADLINE = 30_000;
/** A chain of certificates in base64 is a few KiB. */
const LONGEST_ANSWER = 256 * 1024;

/** The address of one EST operation: `https://host/.well-known/est/` and a label where there is one (RFC 7030 section 3.2.2); `confirm` is our CA's own. Undefined when it is no https URL. */
export function operationUrl(base: string, operation: 'cacerts' | 'simpleenroll' | 'simplereenroll' | 'confirm'): URL | undefined {
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (url === undefined || url.protocol !== 'https:' || url.username !== '' || url.search !== '' || url.hash !== '') return undefined;
  const path = url.pathname === '/' ? '/.well-known/est' : url.pathname.replace(/\/$/, '');
  return new URL(`${path}/${operation}`, url);
}

/** One request with the caller's certificate over a connection of its own. Never throws; follows no redirect. */
export function callEst(url: URL, caller: EstCaller, body?: { readonly type: string; readonly text: string }): Promise<EstReply> {
  return new Promise((done) => {
    const failed = (error: Error): void => done({ kind: 'unreachable', detail: detailOf(error) });
    try {
      const outgoing = request(url, {
        method: body === undefined ? 'GET' : 'POST', agent: false, signal: AbortSignal.timeout(DEADLINE), minVersion: 'TLSv1.2',
        cert: caller.certificate, key: caller.key, ca: caller.trust, rejectUnauthorized: true,
        // RFC 8951 section 3.1 has no use for the encoding any more; servers of before do.
        headers: { ...(caller.authorization === undefined ? {} : { authorization: caller.authorization }), ...(body === undefined ? {} : { 'content-type': body.type, 'content-transfer-encoding': 'base64', 'content-length': Buffer.byteLength(body.text) }) },
      }, (response) => {
        let text = '';
        response.setEncoding('latin1');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > LONGEST_ANSWER) outgoing.destroy(new Error('the answer is too long'));
        });
        response.on('error', failed);
        response.on('end', () => {
          const seconds = Number(response.headers['retry-after'] ?? Number.NaN);
          done({ kind: 'answer', status: response.statusCode ?? 0, body: text, ...(Number.isFinite(seconds) ? { retryAfter: seconds * 1000 } : {}) });
        });
      });
      outgoing.on('error', failed);
      outgoing.end(body?.text);
    } catch (error) {
      // A certificate that is not its key's, or a trust file without a certificate, is found out here.
      failed(error as Error);
    }
  });
}

function detailOf(error: Error & { readonly code?: string; readonly errors?: readonly Error[] }): string {
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no answer within ${DEADLINE / 1000} s`;
  const [first] = error.errors ?? [];
  return first?.message ?? (error.message === '' ? error.code ?? 'no connection' : error.message);
}
