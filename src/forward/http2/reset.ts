import { constants, type Http2Stream, type ServerHttp2Stream } from 'node:http2';

/**
 * Resets a stream. `close(code)` alone would end the writable side first, and Node flushes that before RST_STREAM: the other side would
 * see END_STREAM after half a message and take it for a whole one.
 */
export function resetStream(stream: Http2Stream, code: number): void {
  if (stream.destroyed || stream.closed) return;
  if (!stream.writableEnded) stream.end = () => stream;
  stream.close(code);
}

/** How long an answer may take to leave whose request is not wanted any more, and how often that is looked at. */
const UNREAD_MS = 5_000;
const UNREAD_LOOK_MS = 20;

/**
 * The client's whole answer is given to its stream, its request has not come to its end: RST_STREAM(NO_ERROR) once the answer has left
 * (RFC 9113 section 8.1), and not before: where the window holds the answer up, Node would send the reset in place of its end.
 * `cancel` breaks the request off towards its upstream, before the stream ends and what has come of it could pass for all of it.
 */
export function endUnread(stream: ServerHttp2Stream, cancel: () => void): void {
  const started = performance.now();
  const look = (): void => {
    if (stream.destroyed || stream.closed) return;
    const left = stream.state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL;
    if (!left && performance.now() - started <= UNREAD_MS) return void setTimeout(look, UNREAD_LOOK_MS);
    cancel();
    stream.close(constants.NGHTTP2_NO_ERROR);
  };
  setImmediate(look);
}
