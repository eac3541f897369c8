import type { ServerHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import type { UpstreamAnswer } from '../message.ts';

export type RelayEnd = { readonly kind: 'complete' | 'upstream_died' | 'client_left' | 'record_lost'; readonly bytes: number };

export interface Relay {
  readonly answer: UpstreamAnswer & { readonly body: Readable };
  readonly stream: ServerHttp2Stream;
  /** The header section for the client, `:status` first. */
  readonly head: string[];
  /** Whether the request was HEAD: whatever is announced, nothing comes. */
  readonly headOnly: boolean;
  /** Trailers for the client, from the upstream's. */
  readonly trailers: (raw: readonly string[]) => Record<string, string | string[]> | undefined;
  /** Puts the record on file: nothing that ends the answer is sent before. */
  readonly commit: (bytes: number) => Promise<void>;
  /** Told of every octet that the client is given, and when it takes no more and goes on. */
  readonly watch: { wrote(octets: number): void; waiting(): void; moving(): void };
}

/**
 * Passes an upstream's answer on under back-pressure and holds its end back until the record is on file: of a body of known
 * length the last octets, of any other END_STREAM or the trailers. A cut answer is never ended cleanly; the caller resets it.
 */
export function relayToStream({ answer, stream, head, headOnly, trailers, commit, watch }: Relay): Promise<RelayEnd> {
  return new Promise((resolve) => {
    const { body, length } = answer;
    // Node ends such streams along with their head: the record comes first, and what the upstream sends as their body goes nowhere.
    const bodiless = headOnly || endsWithHead(answer.status);
    const mayTrail = length === undefined && !bodiless;
    let bytes = 0;
    let held: Buffer | undefined;
    let ended = false;
    // From then on it is the record that says what became of it: a client that leaves meanwhile must not get a second one.
    let committing = false;

    const finish = (kind: RelayEnd['kind']): void => {
      if (ended) return;
      ended = true;
      if (kind !== 'complete') body.destroy();
      resolve({ kind, bytes });
    };
    const respond = (last: boolean): void => {
      if (!stream.headersSent && !stream.closed) stream.respond(head, { endStream: last, waitForTrailers: mayTrail && !last });
    };
    /** What Node does not take must end this answer and nothing else. */
    const guarded = (work: () => void): void => {
      try {
        work();
      } catch {
        finish('upstream_died');
      }
    };
    const end = (): void => {
      if (bodiless) return respond(true);
      const after = trailers(answer.trailers());
      const empty = bytes === 0 && after === undefined;
      if (!stream.headersSent && empty) return respond(true);
      respond(false);
      if (mayTrail) stream.once('wantTrailers', () => guarded(() => stream.sendTrailers(after ?? {})));
      watch.waiting();
      if (held === undefined) stream.end();
      else stream.end(held);
    };
    body.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bodiless) return;
      watch.wrote(chunk.length);
      if (length !== undefined && bytes >= length) {
        held = held === undefined ? chunk : Buffer.concat([held, chunk]);
        return;
      }
      if (stream.destroyed || ended) return;
      guarded(() => respond(false));
      if (ended) return;
      if (stream.write(chunk)) return;
      watch.waiting();
      body.pause();
    });
    stream.on('drain', () => {
      watch.moving();
      body.resume();
    });
    stream.on('close', () => {
      if (!committing) finish('client_left');
    });
    body.on('error', () => finish('upstream_died'));
    body.on('close', () => {
      if (!answer.whole()) finish('upstream_died');
    });
    const bodyEnded = (): void => {
      if (ended) return;
      if (!answer.whole() || (length !== undefined && bytes !== length && !bodiless)) return finish('upstream_died');
      committing = true;
      commit(bodiless ? 0 : bytes).then(() => {
        if (ended) return;
        if (!stream.destroyed) guarded(end);
        finish('complete');
      }, () => finish('record_lost'));
    };
    body.on('end', bodyEnded);
    if (stream.destroyed) return finish('client_left');
    // Node ends a stream along with its head when nothing else of it is open any more, before anybody can have listened for that.
    if (body.readableEnded) return bodyEnded();
    if (body.destroyed) return finish('upstream_died');
    // Streams without a known length may wait long for their first octet; the client should see the head before.
    if (length === undefined && !bodiless) setImmediate(() => {
      if (bytes === 0 && !ended && !stream.destroyed && !body.readableEnded) guarded(() => respond(false));
    });
  });
}

/** Statuses whose answers have no content (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5): `respond()` ends the stream by itself. */
export function endsWithHead(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}
