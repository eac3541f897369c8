import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { SMTPServer } from 'smtp-server';
import { judgeSignature } from '../../src/forward/webhooks/signature.ts';
import type { TestPki } from './pki.ts';
import { freePort } from './programs.ts';

export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
  readonly messageId: string | undefined;
  readonly secure: boolean;
}

export interface MailServer {
  readonly port: number;
  readonly mails: readonly Mail[];
  /** The code that every mail is refused with; none: it is taken. */
  refuse: number | undefined;
  close(): Promise<void>;
}

/** A mail server with the backend's certificate (localhost); `tls: none` offers no STARTTLS. */
export function startMailServer(pki: TestPki, { tls = 'starttls', login, port = 0 }: { readonly tls?: 'starttls' | 'implicit' | 'none'; readonly login?: { readonly user: string; readonly password: string }; readonly port?: number } = {}): Promise<MailServer> {
  const mails: Mail[] = [];
  const server = new SMTPServer({
    secure: tls === 'implicit', cert: pki.backendServer.chain, key: pki.backendServer.key, disabledCommands: tls === 'none' ? ['STARTTLS'] : [], authOptional: login === undefined, disableReverseLookup: true, closeTimeout: 100,
    onAuth(auth, _session, done) {
      if (auth.username === login?.user && auth.password === login?.password) done(null, { user: auth.username });
      else done(new Error('who is that'));
    },
    onData(stream, session, done) {
      const octets: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => octets.push(chunk));
      stream.on('end', () => {
        if (made.refuse !== undefined) return done(Object.assign(new Error('not now'), { responseCode: made.refuse }));
        const text = decoded(Buffer.concat(octets).toString('utf8'));
        mails.push({
          from: session.envelope.mailFrom === false ? '' : session.envelope.mailFrom.address, to: session.envelope.rcptTo.map(({ address }) => address), text, messageId: /^Message-ID: (.*)$/im.exec(text)?.[1], secure: session.secure,
        });
        done();
      });
    },
  });
  server.on('error', () => undefined);
  const made: MailServer = {
    get port() {
      return (server.server.address() as AddressInfo).port;
    },
    mails, refuse: undefined,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return new Promise((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(made));
  });
}

/** Quoted-printable, as far as tests need it. */
function decoded(text: string): string {
  return text.replaceAll('=\r\n', '').replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

export interface Post {
  readonly signed: string;
  readonly body: { readonly id: string; readonly alarms: readonly { readonly kind: string; readonly id: string; readonly rule: string; readonly records: readonly { readonly segment: string; readonly seq: number; readonly hash: string; readonly summary: string }[] }[] };
  readonly client: string | undefined;
}

export interface Hook {
  readonly port: number;
  readonly posts: readonly Post[];
  /** What it answers. */
  status: number;
  close(): Promise<void>;
}

/** A webhook that asks for a client certificate and checks the signature. */
export async function startHook(pki: TestPki, secret: string, port?: number): Promise<Hook> {
  // Nobody else may have it while it is closed.
  const at = port ?? await freePort();
  const posts: Post[] = [];
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const octets: Buffer[] = [];
    request.on('data', (chunk: Buffer) => octets.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(octets);
      const { kind } = judgeSignature({ fields: request.rawHeaders, body, secrets: [Buffer.from(secret)], tolerance: Number.MAX_SAFE_INTEGER, now: Date.now() });
      posts.push({ signed: kind, body: JSON.parse(body.toString('utf8')) as Post['body'], client: (request.socket as TLSSocket).getPeerCertificate().subject?.CN as string | undefined });
      response.writeHead(made.status).end();
    });
  });
  const made: Hook = {
    port: at,
    posts, status: 204,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, '127.0.0.1', () => resolve(made));
  });
}
