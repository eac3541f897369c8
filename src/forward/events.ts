import { Readable } from 'node:stream';
import { BroadcastChannel } from 'node:worker_threads';

/** Streams of events that one thread carries at a time, and of them those of one certificate: nobody has them all. */
const MOST_STREAMS = 32;
const MOST_OF_ONE = 4;
/** Octets that a client may have behind before it is let go: it comes again by itself. */
const MOST_BEHIND = 512 * 1024;
/** After that a stream ends, and its client comes again: nobody stays for good on what was decided once. */
const LONGEST_MS = 3_600_000;
/** A sign of life, without which a browser or what stands between would not notice that the gateway is gone. */
const BEAT_MS = 15_000;

/** By certificate. */
const open = new Map<string, number>();

/**
 * A stream of server-sent events (HTML standard, 9.2): `first`, then each text that comes by the channel as one event, until null comes. Undefined where
 * there are too many, or too many of the certificate (SHA-256).
 */
export function openEvents(name: string, first: Buffer, certificate: string): Readable | undefined {
  const own = open.get(certificate) ?? 0;
  if (own >= MOST_OF_ONE || [...open.values()].reduce((sum, count) => sum + count, 0) >= MOST_STREAMS) return undefined;
  open.set(certificate, own + 1);
  const channel = new BroadcastChannel(name);
  channel.unref();
  const beat = setInterval(() => push(': still here\n\n'), BEAT_MS);
  const last = setTimeout(() => stream.push(null), LONGEST_MS);
  beat.unref();
  last.unref();
  const stream = new Readable({
    read: () => undefined,
    destroy(error, done) {
      const left = (open.get(certificate) ?? 1) - 1;
      if (left === 0) open.delete(certificate);
      else open.set(certificate, left);
      clearInterval(beat);
      clearTimeout(last);
      channel.close();
      done(error);
    },
  });
  function push(text: string): void {
    if (stream.destroyed || stream.readableEnded) return;
    if (stream.readableLength > MOST_BEHIND) stream.destroy();
    else stream.push(text);
  }
  channel.onmessage = (event) => {
    const { data } = event as { readonly data: unknown };
    if (typeof data === 'string') push(`data: ${data}\n\n`);
    else if (!stream.destroyed) stream.push(null);
  };
  stream.push(first);
  return stream;
}
