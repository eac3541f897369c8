import { constants, type Http2Stream } from 'node:http2';

/** How the octets of a stream came to their end: by END_STREAM, by a reset without an error, or (`open`) not yet or otherwise. */
export interface StreamEnd {
  readonly kind: 'open' | 'ended' | 'reset';
  readonly octets: number;
}

/**
 * Watches how the octets of a stream come to their end. Node pushes the same end of data for END_STREAM and for a reset, and only the
 * order tells them apart: at a reset the stream is closed before. (`aborted` is no sign: it stays unset once our own side has ended.)
 */
export function watchEnd(stream: Http2Stream): () => StreamEnd {
  const end: { kind: StreamEnd['kind']; octets: number } = { kind: 'open', octets: 0 };
  const push = stream.push.bind(stream);
  stream.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
    if (chunk !== null) end.octets += chunk.length;
    else if (end.kind === 'open' && !stream.destroyed) end.kind = !stream.closed ? 'ended' : stream.rstCode === constants.NGHTTP2_NO_ERROR ? 'reset' : 'open';
    return push(chunk, encoding);
  };
  return () => end;
}
