import type { Writable } from 'node:stream';
import type { RequestBody } from './message.ts';

/** Passes a request's body on under back-pressure. One that was cut never ends cleanly: `broken` is called instead. */
export function pumpBody({ stream, whole }: RequestBody, outgoing: Writable, broken: () => void, beforeEnd?: () => void): void {
  const ended = (): void => {
    if (!whole()) return broken();
    if (outgoing.destroyed || outgoing.writableEnded) return;
    beforeEnd?.();
    outgoing.end();
  };
  // An empty body can have ended while the connection was being opened.
  if (stream.readableEnded) return ended();
  stream.on('data', (chunk: Buffer) => {
    if (!outgoing.destroyed && !outgoing.writableEnded && !outgoing.write(chunk)) stream.pause();
  });
  outgoing.on('drain', () => stream.resume());
  stream.on('end', ended);
  stream.resume();
}
