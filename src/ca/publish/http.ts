import { createHash, X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MAX_OCSP_REQUEST_OCTETS } from '../../pki/ocsp-request.ts';
import { certsOnly } from '../certs-only.ts';
import type { CrlDesk } from './crl-desk.ts';
import type { OcspDesk } from './ocsp-desk.ts';
import type { PublishSource } from './source.ts';

/** Where certificates say that things are (`publish` of the policy); full URLs. */
export interface PublishedAt {
  readonly crl?: string | undefined;
  readonly ocsp?: string | undefined;
  readonly issuer?: string | undefined;
  readonly root_crl?: string | undefined;
}

export interface PublicationOptions {
  readonly source: PublishSource;
  readonly crl: CrlDesk;
  readonly ocsp: OcspDesk;
  readonly now: () => number;
  readonly at: PublishedAt;
  /** The CRL of the offline root, DER, as it lies in the directory; undefined when there is none. */
  readonly rootCrl: () => Buffer | undefined;
}

/** How long others may keep what they have fetched, at most: a revocation is to be seen sooner than its answer ends. */
const LONGEST_AGE = 10 * 60_000;
/** RFC 5019 section 5 has requests of up to 255 octets come by GET. */
const LONGEST_PATH = 2048;

interface Document {
  readonly type: string;
  readonly body: Buffer;
  readonly from?: number;
  readonly until?: number;
}

/** What serves CRLs, OCSP and the CA's certificates over plain HTTP, as PKIs do: everything is signed, or is asked for by those who verify it. Never throws. */
export function createPublication(options: PublicationOptions): (request: IncomingMessage, response: ServerResponse) => void {
  const documentAt = documentsOf(options);
  const bases = [...new Set([pathOf(options.at.ocsp) ?? '/ocsp', '/ocsp'])].map((path) => path.replace(/\/$/, ''));

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = request.url ?? '/';
    const path = url.split('?', 1)[0] as string;
    if (url.length > LONGEST_PATH) return end(response, 414);
    const base = bases.find((one) => path === one || path.startsWith(`${one}/`));
    if (request.method === 'POST') {
      if (path !== '/' && base === undefined) return documentAt(path) === undefined ? end(response, 404) : end(response, 405, { allow: 'GET, HEAD' });
      const body = await bodyOf(request);
      // What is longer than any request is not one; the rest of it is not read.
      if (body === undefined) return end(response, 413, { connection: 'close' });
      return ocspAnswer(request, response, body);
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405, { allow: 'GET, HEAD, POST' });
    const document = documentAt(path);
    if (document !== undefined) return send(request, response, document, options.now());
    if (base === undefined || path.length <= base.length + 1) return end(response, 404);
    return ocspAnswer(request, response, decoded(path.slice(base.length + 1)));
  }

  async function ocspAnswer(request: IncomingMessage, response: ServerResponse, question: Buffer): Promise<void> {
    const { der, kept } = await options.ocsp.answer(question);
    const type = 'application/ocsp-response';
    // RFC 5019 section 6.2: only what was signed ahead and fetched by GET is anybody else's answer as well.
    if (kept === undefined || request.method === 'POST') return end(response, 200, { 'content-type': type, 'cache-control': 'no-store' }, der);
    return send(request, response, { type, body: der, from: kept.thisUpdate, until: kept.nextUpdate }, options.now());
  }

  return (request, response) => {
    response.on('error', () => undefined);
    serve(request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else end(response, 500);
    });
  };
}

function documentsOf({ source, crl, at, rootCrl }: PublicationOptions): (path: string) => Document | undefined {
  const list = (generation: number | undefined): Document | undefined => {
    const found = generation === undefined ? undefined : crl.current(generation);
    return found === undefined ? undefined : { type: 'application/pkix-crl', body: found.der, from: found.thisUpdate, until: found.nextUpdate };
  };
  const certificates = () => source.issuers().filter(({ certificate }) => certificate !== undefined);
  const current = (): number | undefined => certificates().find(({ state }) => state === 'current')?.generation;
  const certificate = (pem: string | undefined): Document | undefined => (pem === undefined ? undefined : { type: 'application/pkix-cert', body: derOf(pem) });
  const issuing = (): Document | undefined => certificate(certificates().find(({ generation }) => generation === current())?.certificate);
  const ofRoot = (): Document | undefined => {
    const body = rootCrl();
    return body === undefined ? undefined : { type: 'application/pkix-crl', body };
  };
  const all = (): Document => ({ type: 'application/pkcs7-mime; smime-type=certs-only', body: certsOnly([...certificates().map(({ certificate: pem }) => derOf(pem as string)), derOf(source.root)]) });
  const documents = new Map<string, () => Document | undefined>([
    ['/issuing.crl', () => list(current())], ['/issuing.cer', issuing], ['/root.cer', () => certificate(source.root)], ['/root.crl', ofRoot], ['/ca.p7c', all],
  ]);
  for (const [where, what] of [[at.crl, () => list(current())], [at.issuer, issuing], [at.root_crl, ofRoot]] as const) {
    const path = pathOf(where);
    if (path !== undefined) documents.set(path, what);
  }
  // Each issuing CA of before has its own list, which is signed until its certificate ends.
  return (path) => {
    const generation = /^\/issuing-([1-9]\d{0,3})\.crl$/.exec(path)?.[1];
    return generation === undefined ? documents.get(path)?.() : list(Number(generation));
  };
}

function pathOf(url: string | undefined): string | undefined {
  return url === undefined ? undefined : new URL(url).pathname;
}

function derOf(pem: string): Buffer {
  return Buffer.from(new X509Certificate(pem).raw);
}

function send(request: IncomingMessage, response: ServerResponse, { type, body, from, until }: Document, now: number): void {
  const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 32)}"`;
  const age = Math.max(0, Math.min(LONGEST_AGE, (until ?? Infinity) - now));
  const headers = {
    etag, 'cache-control': `max-age=${Math.floor(age / 1000)}, public, no-transform, must-revalidate`,
    ...(from === undefined ? {} : { 'last-modified': new Date(from).toUTCString() }), ...(until === undefined ? {} : { expires: new Date(until).toUTCString() }),
  };
  const known = request.headers['if-none-match']?.split(',').some((one) => one.trim() === etag || one.trim() === '*') === true;
  if (known) return end(response, 304, headers);
  end(response, 200, { ...headers, 'content-type': type, 'content-length': String(body.length) }, request.method === 'HEAD' ? undefined : body);
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}, body?: Buffer): void {
  response.writeHead(status, body === undefined && headers['content-length'] === undefined && status !== 304 ? { ...headers, 'content-length': '0' } : headers).end(body);
}

/** RFC 6960 appendix A.1: base64, percent-encoded; some leave "/" and "+" as they are. What cannot be decoded is a request that cannot be read. */
function decoded(text: string): Buffer {
  try {
    return Buffer.from(decodeURIComponent(text), 'base64');
  } catch {
    return Buffer.alloc(0);
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_OCSP_REQUEST_OCTETS) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
