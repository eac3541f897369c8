import type { Http2Stream } from 'node:http2';

/**
 * Resets a stream. `close(code)` alone would end the writable side first, and Node flushes that before RST_STREAM: the other side would
 * see END_STREAM after half a message and take it for a whole one.
 */
export function resetStream(stream: Http2Stream, code: number): void {
  if (stream.destroyed || stream.closed) return;
  if (!stream.writableEnded) stream.end = () => stream;
  stream.close(code);
}
