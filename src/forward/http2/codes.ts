import { constants, type ServerHttp2Session } from 'node:http2';

/** nghttp2's own error numbers, and the code of RFC 9113 section 7 that says the same to a client. */
const CODES: ReadonlyMap<number, number> = new Map([
  [-505, constants.NGHTTP2_PROTOCOL_ERROR],
  [-510, constants.NGHTTP2_STREAM_CLOSED],
  [-522, constants.NGHTTP2_FRAME_SIZE_ERROR],
  [-523, constants.NGHTTP2_COMPRESSION_ERROR],
  [-524, constants.NGHTTP2_FLOW_CONTROL_ERROR],
  [-531, constants.NGHTTP2_PROTOCOL_ERROR],
  [-532, constants.NGHTTP2_PROTOCOL_ERROR],
  // A callback of Node's that had enough: streams refused, frames without a meaning.
  [-902, constants.NGHTTP2_ENHANCE_YOUR_CALM],
  [-903, constants.NGHTTP2_PROTOCOL_ERROR],
  [-904, constants.NGHTTP2_ENHANCE_YOUR_CALM],
]);

/** Has a session that Node ends for what its client did say what that was: by itself Node calls everything an internal error of ours. */
export function nameCodes(session: ServerHttp2Session): void {
  const destroy = session.destroy.bind(session);
  session.destroy = (error, code) => destroy(error, code ?? CODES.get((error as NodeJS.ErrnoException | undefined)?.errno ?? 0));
}
