import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { trailerFields } from './headers.ts';

export type RelayEnd =
  | { readonly kind: 'complete'; readonly bytes: number }
  | { readonly kind: 'upstream_died' | 'client_left' | 'record_lost'; readonly bytes: number };

/**
 * Passes an upstream's answer on under back-pressure and holds its end back until `commit` has put the record on file: of
 * a body of known length the last octets, of any other the end mark, of an answer without body everything. A client that
 * holds a complete answer therefore knows that its record exists. The head must have been set, not written. `reset` ends the
 * client's connection with an error, for answers to which its mere end would be a whole one's.
 */
export function relayAnswer(answer: IncomingMessage, response: ServerResponse, commit: (bytes: number) => Promise<void>, reset?: () => void): Promise<RelayEnd> {
  return new Promise((resolve) => {
    const length = answer.headers['content-length'];
    // RFC 9110 section 15.3.6: what an upstream sends as the content of a 205 goes no further.
    const empty = answer.statusCode === 205;
    const expected = length === undefined && !empty ? Infinity : Number(length ?? 0);
    let bytes = 0;
    let held: Buffer | undefined;
    let ended = false;
    // From then on it is the record that says what became of it: a client that leaves meanwhile must not get a second one.
    let committing = false;

    const finish = (end: RelayEnd): void => {
      if (ended) return;
      ended = true;
      if (end.kind === 'complete') return resolve(end);
      // Never a clean end: a cut answer must not look like a whole one.
      if (expected === Infinity && !response.chunkedEncoding) reset?.();
      response.destroy();
      answer.destroy();
      resolve(end);
    };
    answer.on('data', (chunk: Buffer) => {
      if (empty) return;
      bytes += chunk.length;
      if (bytes >= expected) held = chunk;
      else if (!response.write(chunk)) answer.pause();
    });
    response.on('drain', () => answer.resume());
    response.on('close', () => {
      if (!committing) finish({ kind: 'client_left', bytes });
    });
    answer.on('error', () => finish({ kind: 'upstream_died', bytes }));
    answer.on('close', () => {
      if (!answer.complete) finish({ kind: 'upstream_died', bytes });
    });
    const answerEnded = (): void => {
      if (!isWhole(answer) || ended) return finish({ kind: 'upstream_died', bytes });
      committing = true;
      commit(bytes).then(() => {
        if (answer.rawTrailers.length > 0) response.addTrailers(fieldPairs(trailerFields(answer.rawTrailers)));
        if (held === undefined) response.end();
        else response.end(held);
        finish({ kind: 'complete', bytes });
      }, () => finish({ kind: 'record_lost', bytes }));
    };
    answer.on('end', answerEnded);
    // A stream of HTTP/2 can have come to its end along with its head, before anybody listened for that.
    if (answer.readableEnded) return answerEnded();
    if (answer.destroyed) return finish({ kind: 'upstream_died', bytes });
    // Streams without a known length may wait long for their first octet; the client should see the head before.
    if (expected === Infinity) setImmediate(() => {
      if (bytes === 0 && !ended && !answer.readableEnded) response.flushHeaders();
    });
  });
}

/**
 * Whether the upstream has sent all of an answer that has ended. Node's client takes one that lasts until its connection ends
 * for complete also when that connection was reset, or ended by ourselves for want of octets.
 */
export function isWhole(answer: IncomingMessage): boolean {
  const { headers, complete } = answer;
  const lasting = headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
  // An answer that came over HTTP/2 has no socket, and says by itself whether it is whole.
  const fault = (answer.socket as Socket | undefined)?.errored ?? undefined;
  return complete && !(lasting && fault !== undefined);
}

function fieldPairs(fields: readonly string[]): [string, string][] {
  return Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]);
}
