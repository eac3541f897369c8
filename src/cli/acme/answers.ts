import { lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { Answers } from '../../ca/acme/client.ts';
import type { Address } from '../../config/addresses.ts';

/** Answers to http-01 challenges (RFC 8555 section 8.3), shown until closed. */
export interface ShownAnswers extends Answers {
  close(): void;
}

const PATH = '/.well-known/acme-challenge/';

/** By a server of our own, which knows nothing else. Rejects when the address cannot be had. */
export function answerAt({ host, port, text }: Address): Promise<ShownAnswers> {
  const shown = new Map<string, string>();
  const server = createServer({ maxHeaderSize: 8192, headersTimeout: 5_000, requestTimeout: 5_000, connectionsCheckingInterval: 1_000 }, (request, response) => {
    const path = request.url ?? '';
    const answer = path.startsWith(PATH) && (request.method === 'GET' || request.method === 'HEAD') ? shown.get(path.slice(PATH.length)) : undefined;
    const head = { connection: 'close', 'content-type': 'application/octet-stream' };
    if (answer === undefined) response.writeHead(404, { ...head, 'content-length': 0 }).end();
    else response.writeHead(200, { ...head, 'content-length': Buffer.byteLength(answer) }).end(answer);
  });
  server.maxConnections = 64;
  server.on('connection', (socket) => socket.on('error', () => socket.destroy()));
  server.on('clientError', (_error, socket) => socket.destroy());
  return new Promise((done, fail) => {
    server.once('error', (error) => fail(new Error(`--http ${text}: ${error.message}`, { cause: error })));
    server.listen(port, host, () => done({
      show: (token, answer) => void shown.set(token, answer),
      hide: (token) => void shown.delete(token),
      close() {
        server.close();
        server.closeAllConnections();
      },
    }));
  });
}

/** As files, for a server that has port 80 already. */
export function answerIn(webroot: string): ShownAnswers {
  const directory = join(webroot, PATH);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  return {
    // A name that the CA has chosen is taken by no link of somebody else's. A run that was killed may have left the answer, and a CA may ask for it again.
    show(token, answer) {
      const file = join(directory, token);
      if (lstatSync(file, { throwIfNoEntry: false })?.isFile() === true && readFileSync(file, 'utf8') === answer) return;
      writeFileSync(file, answer, { mode: 0o644, flag: 'wx' });
    },
    hide: (token) => rmSync(join(directory, token), { force: true }),
    close: () => undefined,
  };
}
