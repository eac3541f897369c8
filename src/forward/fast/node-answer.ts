import { IncomingMessage, request as httpRequest, ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { finalAnswer, type Answer } from '../general.ts';

/** The rest of an upstream's connection, as something that Node's HTTP client reads an answer from. */
export interface Replay {
  /** Resolves with what Node's parser makes of the answer. */
  readonly answer: Promise<Answer>;
  /** More octets; false when they should pause. */
  push(octets: Buffer): boolean;
  /** The upstream has ended its side, which ends an answer of no other length; or it is lost. */
  end(clean: boolean): void;
}

/**
 * Reads an answer of an unusual shape by Node's own parser: interim answers, answers that end with their connection, fields
 * that the fast path does not take. The request has been sent already; `resume` asks for more octets.
 */
export function replayAnswer(method: string, resume: () => void): Replay {
  const connection = new Duplex({
    read: resume,
    // The request that Node writes: the upstream has it.
    write: (_chunk, _encoding, done) => done(),
  });
  const answer = new Promise<Answer>((resolve) => {
    const asked = httpRequest({ method, createConnection: () => connection, setHost: false });
    asked.on('response', (message) => resolve(finalAnswer(message)));
    asked.on('upgrade', () => {
      connection.destroy();
      resolve({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched protocols uninvited' });
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve({
      kind: 'failed', code: 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
    }));
    asked.end();
  });
  connection.on('error', () => undefined);
  return {
    answer,
    // Octets live in a buffer that is used again.
    push: (octets) => connection.push(Buffer.from(octets)),
    end(clean) {
      if (clean) connection.push(null);
      else connection.destroy();
    },
  };
}

/** Node's writer of answers on a connection that has no Node server. `drained` must be called when the connection drains. */
export function nodeResponse(method: string, socket: Socket): ServerResponse & { drained(): void } {
  const request = new IncomingMessage(socket);
  Object.assign(request, { method, httpVersionMajor: 1, httpVersionMinor: 1, httpVersion: '1.1' });
  const response = new ServerResponse(request);
  response.shouldKeepAlive = true;
  response.assignSocket(socket);
  return Object.assign(response, { drained: () => void response.emit('drain') });
}
