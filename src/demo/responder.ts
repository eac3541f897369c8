import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerOcsp, issueCrl } from '../ca/issue.ts';
import type { Authority, Issued, OcspStatus, Reason } from '../ca/issue.ts';
import { asksAbout, readOcspRequest } from '../ca/ocsp.ts';
import { listen } from './listen.ts';
import { readBody } from './http.ts';

const hour = 3_600_000;
const longestRequest = 16 * 1024;

/** One authority whose certificates the responder answers for. */
export interface StatusSource {
  /** File name of the CRL, without extension. */
  readonly name: string;
  readonly authority: Authority;
  /** Signs OCSP answers in the authority's place. */
  readonly delegate?: Issued;
  /** Serial numbers that were given out; any other is `unknown`. */
  readonly issued: ReadonlySet<string>;
  readonly revoked: ReadonlyMap<string, { readonly at: number; readonly reason: Reason }>;
}

export interface Responder {
  readonly port: number;
  /** The current CRL of a source, DER. */
  crl(name: string): Promise<Buffer>;
  stop(): Promise<void>;
}

/**
 * An OCSP responder (`POST /`, `GET /BASE64`, RFC 6960 appendix A) and CRL distribution point (`GET /NAME.crl`) over plain HTTP on
 * loopback, as both are in the field: what they serve is signed. Answers hold for ten minutes, lists for a day.
 */
export async function startResponder(sources: readonly StatusSource[], port: number): Promise<Responder> {
  const lists = new Map<string, { readonly made: number; readonly der: Promise<Buffer> }>();
  const crl = (source: StatusSource): Promise<Buffer> => {
    const known = lists.get(source.name);
    const now = Date.now();
    if (known !== undefined && now - known.made < hour) return known.der;
    const der = makeCrl(source, now);
    lists.set(source.name, { made: now, der });
    return der;
  };
  const byName = (name: string) => sources.find((source) => source.name === name);

  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    serve(request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '/').slice(1);
    if (request.method === 'GET' && path.endsWith('.crl')) {
      const source = byName(path.slice(0, -4));
      if (source === undefined) return void response.writeHead(404).end();
      return void response.writeHead(200, { 'content-type': 'application/pkix-crl' }).end(await crl(source));
    }
    const question = await ocspRequest(request, path);
    if (question === undefined) return void response.writeHead(request.method === 'POST' ? 413 : 404).end();
    response.writeHead(200, { 'content-type': 'application/ocsp-response' }).end(await answer(question, sources));
  };

  const bound = await listen(server, port);
  return {
    port: bound.port,
    stop: () => bound.close(),
    async crl(name) {
      const source = byName(name);
      if (source === undefined) throw new Error(`no CRL named "${name}"; known: ${sources.map((known) => known.name).join(', ')}`);
      return crl(source);
    },
  };
}

async function ocspRequest(request: IncomingMessage, path: string): Promise<Buffer | undefined> {
  if (request.method === 'POST') return readBody(request, longestRequest);
  if (request.method !== 'GET' || path === '') return undefined;
  return Buffer.from(decodeURIComponent(path), 'base64');
}

async function answer(question: Buffer, sources: readonly StatusSource[]): Promise<Buffer> {
  const [fallback] = sources;
  if (fallback === undefined) throw new Error('a responder needs at least one source');
  const source = sources.find(({ authority }) => asked(question, authority)) ?? fallback;
  const now = Date.now();
  return answerOcsp(question, {
    authority: source.authority, ...(source.delegate === undefined ? {} : { delegate: source.delegate }), statusOf: (serial) => status(source, serial),
    producedAt: now, thisUpdate: now, nextUpdate: now + 600_000,
  });
}

function asked(question: Buffer, authority: Authority): boolean {
  try {
    return asksAbout(readOcspRequest(question), authority);
  } catch {
    return false;
  }
}

function status(source: StatusSource, serial: string): OcspStatus {
  const revoked = source.revoked.get(serial);
  if (revoked !== undefined) return { kind: 'revoked', ...revoked };
  return { kind: source.issued.has(serial) ? 'good' : 'unknown' };
}

function makeCrl(source: StatusSource, now: number): Promise<Buffer> {
  return issueCrl(source.authority, {
    thisUpdate: now, nextUpdate: now + 24 * hour,
    // Seconds since 1970 keep crlNumber rising from one run of the demo to the next.
    number: Math.floor(now / 1000),
    revoked: [...source.revoked].map(([serial, { at, reason }]) => ({ serial, date: at, reason })),
  });
}
