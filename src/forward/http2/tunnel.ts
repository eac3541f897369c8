import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { StreamEnd } from '../tcp.ts';
import { endUnread, resetStream } from './reset.ts';
import type { StreamEnd as OctetsEnd } from './stream-end.ts';

export interface Tunnel {
  readonly stream: ServerHttp2Stream;
  /** How the octets of the stream came to their end. */
  readonly end: () => OctetsEnd;
  readonly socket: Duplex;
  /** What the upstream has said behind its answer. */
  readonly head: Buffer;
  /** Milliseconds that both sides may be silent. */
  readonly silence: number;
  /** Told of octets that pass, and when the client takes no more and goes on. */
  readonly watch: { sent(octets: number): void; received(octets: number): void; waiting(): void; moving(): void };
}

/** Joins a stream whose answer has been sent with an upstream's connection; resolves when both have ended (RFC 8441 section 5). */
export function joinStream({ stream, end, socket, head, silence, watch }: Tunnel): Promise<StreamEnd> {
  let bytesOut = 0;
  let bytesIn = 0;
  let fault: string | undefined;
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      fault = 'idle for too long';
      resetStream(stream, constants.NGHTTP2_CANCEL);
    }, silence);
    const send = (octets: Buffer): void => {
      bytesOut += octets.length;
      timer.refresh();
      watch.sent(octets.length);
      if (stream.destroyed || stream.closed || stream.write(octets)) return;
      watch.waiting();
      socket.pause();
    };
    stream.on('drain', () => {
      watch.moving();
      socket.resume();
    });
    stream.on('data', (octets: Buffer) => {
      bytesIn += octets.length;
      timer.refresh();
      watch.received(octets.length);
      if (!socket.destroyed && !socket.write(octets)) stream.pause();
    });
    socket.on('drain', () => stream.resume());
    stream.on('end', () => {
      // Only END_STREAM is an end that the client means; a reset closes the stream, and that the connection.
      if (end().kind === 'ended' && !socket.destroyed) socket.end();
    });
    // A TCP end is END_STREAM, a TCP reset RST_STREAM: the WebSocket's own close frame has said the rest.
    socket.on('end', () => {
      if (!stream.destroyed && !stream.closed) stream.end();
    });
    socket.on('close', () => {
      // What the client still says has no reader.
      if (socket.readableEnded) endUnread(stream, () => undefined);
      else resetStream(stream, constants.NGHTTP2_CANCEL);
    });
    stream.on('close', () => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ bytesOut, bytesIn, ...(fault === undefined ? {} : { fault }) });
    });
    if (head.length > 0) send(head);
    socket.on('data', send);
    if (stream.destroyed) stream.emit('close');
    stream.resume();
  });
}
