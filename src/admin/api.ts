import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { CallOutcome, Called } from './answer-call.ts';
import { inputText } from './input.ts';

/** Answers a call that came over the socket. Never rejects. */
export type SocketCalls = (called: Called) => Promise<CallOutcome>;

/**
 * Opens the admin interface on a Unix socket that only its owner can use. A socket file that nobody listens on any more is
 * replaced; one that answers means another gateway has this state directory, and is refused.
 */
export async function openAdminSocket(path: string, answer: SocketCalls): Promise<{ close(): Promise<void> }> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (await answers(path)) throw new Error(`${path}: another gateway is running on this state directory`);
  let server = await listen(path, answer);
  let looking = false;
  // Without its file the socket cannot be reached, and nobody could revoke.
  const timer = setInterval(() => {
    if (looking || existsSync(path)) return;
    looking = true;
    // The old one first: closing a Unix socket removes the file of its name, whoever's it is by then.
    void end(server).then(() => listen(path, answer)).then((found) => {
      server = found;
    }, () => undefined).finally(() => {
      looking = false;
    });
  }, LOOK_MS);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      return end(server);
    },
  };
}

function end(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}

const LOOK_MS = 1_000;

async function listen(path: string, answer: SocketCalls): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer({ headersTimeout: 5_000, requestTimeout: 10_000 }, (request, response) => {
    serve(request, answer).then(
      (outcome) => reply(response, outcome),
      (error: Error) => reply(response, { kind: 'refused', status: 400, detail: error.message }),
    );
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  // Node binds within the call. The mask is the whole process's: with the owner's bits in it a directory that another thread makes meanwhile could not be entered.
  const mask = process.umask(0o077);
  const bound = new Promise<void>((done, failed) => {
    server.once('error', failed);
    server.listen(path, () => done());
  });
  process.umask(mask);
  await bound;
  chmodSync(path, 0o600);
  return server;
}

async function serve(request: IncomingMessage, answer: SocketCalls): Promise<CallOutcome> {
  const [path = '', query = ''] = (request.url ?? '').split('?');
  return answer({ method: request.method ?? '', path, query, text: await inputText(request) });
}

function reply(response: ServerResponse, outcome: CallOutcome): void {
  const { status, body } = written(outcome);
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

function written(outcome: CallOutcome): { readonly status: number; readonly body: unknown } {
  if (outcome.kind === 'answer') return { status: 200, body: outcome.answer };
  if (outcome.kind === 'refused') return { status: outcome.status, body: { error: outcome.detail } };
  if (outcome.kind === 'later') return { status: 429, body: { error: outcome.detail } };
  return { status: 500, body: { error: outcome.detail, ...(outcome.issues === undefined ? {} : { issues: outcome.issues }) } };
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path);
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('connect', () => {
      done(true);
      socket.destroy();
    });
    socket.on('error', () => done(false));
    socket.on('close', () => done(false));
  });
}
