import { IncomingMessage, request as httpRequest, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { UpstreamConfig } from '../../config/schema.ts';
import { finalAnswer, type Answer } from '../general.ts';
import { relayAnswer, type RelayEnd } from '../relay.ts';
import type { AnswerParser } from './upstream-exchange.ts';

/** The rest of an upstream's connection, as something that Node's HTTP client reads an answer from. */
export interface Replay extends AnswerParser {
  /** Resolves with what Node's parser makes of the answer. */
  readonly answer: Promise<Answer>;
}

/**
 * Reads an answer of an unusual shape by Node's own parser: interim answers, answers that end with their connection, fields
 * that the fast path does not take. The request has been sent already; `resume` asks for more octets.
 */
export function replayAnswer(method: string, unframed: UpstreamConfig['unframed'], resume: () => void): Replay {
  const connection = new Duplex({
    read: resume,
    // The request that Node writes: the upstream has it.
    write: (_chunk, _encoding, done) => done(),
  });
  connection.on('error', () => undefined);
  const answer = new Promise<Answer>((resolve) => {
    const asked = httpRequest({ method, createConnection: () => connection, setHost: false });
    asked.on('response', (message) => resolve(finalAnswer(message, unframed)));
    asked.on('upgrade', () => {
      connection.destroy();
      resolve({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched protocols uninvited' });
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve({
      kind: 'failed', code: 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
    }));
    asked.end();
  });
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

/** An answer on its way to the client through Node's writer, on a connection that has no Node server. */
export interface NodeRelay {
  /** Resolves when the answer has left the connection, or never will. */
  readonly end: Promise<RelayEnd>;
  readonly status: number;
  /** The connection has drained. */
  drained(): void;
}

/** Passes on what Node's parser has read, as `relayAnswer` does, with these fields; `commit` puts the record on file. */
export function relayThroughNode(message: IncomingMessage, method: string, socket: Socket, fields: string[], commit: (bytes: number) => Promise<void>): NodeRelay {
  const request = new IncomingMessage(socket);
  Object.assign(request, { method, httpVersionMajor: 1, httpVersionMinor: 1, httpVersion: '1.1' });
  const response = new ServerResponse(request);
  response.shouldKeepAlive = true;
  response.assignSocket(socket);
  response.writeHead(message.statusCode as number, fields);
  return {
    status: message.statusCode as number,
    end: relayAnswer(message, response, commit).then(async (end) => {
      if (end.kind !== 'complete') return end;
      if (!response.writableFinished) await new Promise((resolve) => response.once('finish', resolve).once('close', resolve));
      if (response.socket !== null) response.detachSocket(socket);
      return end;
    }),
    drained: () => void response.emit('drain'),
  };
}
