import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { MAX_REQUEST_OCTETS } from '../../pki/certification-request.ts';
import { parseCertificate, type Certificate } from '../../pki/certificate.ts';
import { validatePath, type CertificatePool } from '../../pki/path.ts';
import { readClientCert, type EstAnswer, type EstDesk } from './desk.ts';

/** Whether a gateway may speak for devices still; if not, what it is told. */
export type Standing = { readonly kind: 'good' } | { readonly kind: 'refused'; readonly status: 403 | 503; readonly detail: string };

export interface EstHttpOptions {
  readonly desk: EstDesk;
  /** Anchors and issuers of the gateways' certificates. */
  readonly trust: CertificatePool;
  readonly now: () => number;
  /** Gateways that may name the device: DNS names or SHA-256 fingerprints (lowercase hex) of their certificates. */
  readonly gateways: ReadonlySet<string>;
  /** Whether a gateway's certificate, on its path, was taken back; absent: nobody says so of any. */
  readonly standing?: (path: readonly Certificate[]) => Standing;
  /** Is told of each answer, for the log. */
  readonly said: (facts: { readonly operation: string; readonly status: number; readonly device?: string; readonly serial?: string; readonly previous?: string; readonly detail?: string }) => void;
}

/** A label is there for servers of several CAs (RFC 7030 section 3.2.2); ours is one. */
const PATH = /^\/\.well-known\/est\/(?:[A-Za-z0-9._-]{1,64}\/)?(cacerts|csrattrs|simplereenroll|simpleenroll|serverkeygen|fullcmc|confirm)$/;
const GOOD: Standing = { kind: 'good' };
const NOBODY: Standing = { kind: 'refused', status: 403, detail: 'this certificate is of no gateway that may speak for devices' };
/** A request in base64 with line ends. */
const LONGEST_BODY = MAX_REQUEST_OCTETS * 2;

/**
 * EST behind a gateway: whoever calls is a gateway that shows its own certificate, and names in `Client-Cert` (RFC 9440) the device that it has admitted. From
 * anybody else that field is worth nothing. Never throws.
 */
export function createEstHttp({ desk, trust, now, gateways, standing = () => GOOD, said }: EstHttpOptions): (request: IncomingMessage, response: ServerResponse) => void {
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const caller = standingOf(request.socket as TLSSocket);
    if (caller.kind === 'refused') {
      said({ operation: 'gateway', status: caller.status, detail: caller.detail });
      return end(response, caller.status, caller.detail);
    }
    const operation = PATH.exec(request.url ?? '')?.[1];
    if (operation === undefined) return end(response, 404, 'no such operation');
    if ((operation === 'simpleenroll' && desk.enroll === undefined) || operation === 'serverkeygen' || operation === 'fullcmc') return end(response, 501, `${operation} is not offered: first certificates are asked for at the CA`);
    const method = operation === 'simpleenroll' || operation === 'simplereenroll' || operation === 'confirm' ? 'POST' : 'GET';
    if (request.method !== method) return end(response, 405, `expected ${method}`, { allow: method });
    if (operation === 'csrattrs') return end(response, 204);
    if (operation === 'cacerts') return answer(response, operation, await desk.authorities());
    if (operation === 'simpleenroll') {
      const shown = basicOf(request);
      if (shown === undefined) return answer(response, operation, { kind: 'refused', status: 401, detail: 'expected Basic with the name and the code' });
      const csr = await csrOf(request, response);
      return csr === undefined || desk.enroll === undefined ? undefined : answer(response, operation, await desk.enroll(shown.name, shown.code, csr));
    }
    const device = readClientCert(clientCert(request));
    if (device === undefined) return end(response, 403, 'the gateway names no device: expected one Client-Cert');
    if (operation === 'confirm') return answer(response, operation, desk.confirm(device), device);
    const csr = await csrOf(request, response);
    return csr === undefined ? undefined : answer(response, operation, await desk.reenroll(device, csr), device);
  }

  /** The request in the body, DER; where there is none, the answer has been given. */
  async function csrOf(request: IncomingMessage, response: ServerResponse): Promise<Buffer | undefined> {
    const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
    if (type !== 'application/pkcs10') return void end(response, 415, 'expected application/pkcs10');
    const body = await bodyOf(request);
    if (body === undefined) return void end(response, 413, 'the request is too long', { connection: 'close' });
    const csr = decoded(body);
    if (csr === undefined) end(response, 400, 'the request is not base64');
    return csr;
  }

  /** Judged by ourselves, as on a resumed session nobody else has; whose it is decides. */
  function standingOf(socket: TLSSocket): Standing {
    const raw = socket.getPeerX509Certificate()?.raw;
    if (raw === undefined) return NOBODY;
    const certificate = parseCertificate(raw);
    const named = gateways.has(certificate.sha256) || certificate.subjectAltNames.some((name) => name.kind === 'dns' && gateways.has(name.value.toLowerCase()));
    if (!named) return NOBODY;
    const verdict = validatePath(certificate, trust, { now: now(), purpose: 'client' });
    if (verdict.kind === 'valid') return standing(verdict.path);
    return { kind: 'refused', status: 403, detail: 'the certificate of this gateway has no valid path to the CAs that gateways are trusted by; do these name its issuing CA too?' };
  }

  function answer(response: ServerResponse, operation: string, reply: EstAnswer, device?: Certificate): void {
    const of = device === undefined ? {} : { device: device.serial };
    const after = 'retryAfter' in reply && reply.retryAfter !== undefined ? { 'retry-after': String(Math.ceil(reply.retryAfter / 1000)) } : {};
    switch (reply.kind) {
      case 'certificates': {
        said({ operation, status: 200, ...of, ...(reply.serial === undefined ? {} : { serial: reply.serial }), ...(reply.previous === undefined ? {} : { previous: reply.previous }) });
        const text = reply.der.toString('base64').replace(/.{64}/g, '$&\r\n');
        // RFC 8951 section 3.1 does without the encoding; clients of RFC 7030 look for it.
        const type = operation === 'cacerts' ? 'application/pkcs7-mime' : 'application/pkcs7-mime; smime-type=certs-only';
        return void response.writeHead(200, { 'content-type': type, 'content-transfer-encoding': 'base64', 'content-length': text.length, 'cache-control': 'no-store' }).end(text);
      }
      case 'done':
        said({ operation, status: 204, ...of });
        return end(response, 204);
      case 'pending':
        said({ operation, status: 202, ...of });
        return end(response, 202, 'waiting for approval', after);
      case 'refused':
        said({ operation, status: reply.status, ...of, detail: reply.detail });
        return end(response, reply.status, reply.detail, { ...after, ...(reply.status === 401 ? { 'www-authenticate': 'Basic realm="enrolment", charset="UTF-8"' } : {}) });
      default:
        return reply satisfies never;
    }
  }

  return (request, response) => {
    response.on('error', () => undefined);
    serve(request, response).catch((error: Error) => {
      said({ operation: 'fault', status: 500, detail: error.message });
      if (response.headersSent) response.destroy();
      else end(response, 500, 'the CA cannot answer now');
    });
  };
}

/** The one field of that name: of two nobody could tell which the gateway set. */
function clientCert({ rawHeaders }: IncomingMessage): string | undefined {
  const values = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'client-cert');
  return values.length === 1 ? values[0] : undefined;
}

/** RFC 7617: the name ends at the first colon. One field, as of two nobody could tell which the device meant. */
function basicOf({ rawHeaders }: IncomingMessage): { readonly name: string; readonly code: string } | undefined {
  const values = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'authorization');
  const [, base64 = ''] = values.length === 1 ? /^basic +([A-Za-z0-9+/]{1,1024}={0,2})$/i.exec(values[0] as string) ?? [] : [];
  const [, name, code] = /^([^:]*):(.*)$/su.exec(Buffer.from(base64, 'base64').toString('utf8')) ?? [];
  return name === undefined || code === undefined ? undefined : { name, code };
}

function decoded(body: string): Buffer | undefined {
  const base64 = body.replace(/[\t\r\n ]/g, '');
  const der = Buffer.from(base64, 'base64');
  return der.length > 0 && der.toString('base64') === base64 ? der : undefined;
}

function end(response: ServerResponse, status: number, text = '', headers: Readonly<Record<string, string>> = {}): void {
  const body = text === '' ? '' : `${text}\n`;
  response.writeHead(status, { ...headers, ...(status === 204 ? {} : { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) }) }).end(body);
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  let text = '';
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += chunk.toString('latin1');
    if (text.length > LONGEST_BODY) return undefined;
  }
  return text;
}
