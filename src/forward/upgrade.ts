import { hash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { PlainPermit } from '../policy/decision.ts';
import { clientHeaders, type ResponseRules } from './headers.ts';
import { finalAnswer, type Answer } from './general.ts';
import type { StreamEnd } from './tcp.ts';
import { watchStillness } from './upstream/stillness.ts';
import type { Trail, TurnResult, Upstream } from './upstream/pool.ts';

/** An upgrade that the upstream has accepted, not yet told to the client. */
export interface Upgraded {
  readonly kind: 'upgraded';
  /** Tells the client and joins the two connections; resolves when they have ended. */
  join(socket: Duplex, head: Buffer, rules: ResponseRules): Promise<StreamEnd>;
  abandon(): void;
  /** For those who tell and join by themselves: the upstream's connection, what it has said on it already, and its answer. */
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly message: IncomingMessage;
}

export interface UpgradeForwarding {
  readonly permit: PlainPermit;
  readonly path: string;
  /** The `Sec-WebSocket-Key` that the upstream has to answer. */
  readonly webSocketKey: string;
  /** What the client's end is seen by. */
  readonly client: Pick<Duplex, 'destroyed'> & { once(event: 'close', listener: () => void): unknown };
  readonly headers: IncomingHttpHeaders;
  readonly upstream: Upstream;
  /** Whose stream it is, for the choice of an endpoint. */
  readonly key: string;
  readonly trail: Trail;
}

/**
 * Asks the upstream for a WebSocket (RFC 6455). Ours and not http-proxy's, which tells the client 101 by itself: here the
 * record comes first. An upstream that declines gives an ordinary answer.
 */
export async function forwardUpgrade({ path, webSocketKey, client, headers, upstream, key, trail }: UpgradeForwarding): Promise<Upgraded | Answer> {
  // A connection of its own: whatever an upstream makes of an upgrade, no other request travels behind it.
  const opened = await upstream.connect(key, { allowHalfOpen: false });
  Object.assign(trail, opened.trail);
  if (opened.kind === 'failed') return { kind: 'failed', code: opened.code, detail: opened.detail };
  const { socket, turn } = opened;
  if (client.destroyed) {
    turn.done('abandoned');
    socket.destroy();
    return { kind: 'client_left' };
  }
  const { 'content-length': _length, 'transfer-encoding': _coding, ...fields } = headers;
  return new Promise((resolve) => {
    const outgoing = httpsRequest({
      method: 'GET',
      path,
      headers: { ...fields, connection: 'Upgrade', upgrade: 'websocket' },
      createConnection: () => socket,
    });
    let taken = false;
    let upgraded = false;
    let result: TurnResult = 'failed';
    const deadline = setTimeout(() => {
      result = 'timeout';
      outgoing.destroy(new Error('no answer in time'));
    }, upstream.config.timeouts.response);
    // For the body of an answer that is no upgrade.
    const stillness = watchStillness(socket, upstream.config.timeouts.idle, () => {
      if (!taken) return;
      result = 'timeout';
      outgoing.destroy(new Error('the answer stood still for too long'));
    });
    outgoing.on('close', () => {
      clearTimeout(deadline);
      stillness.stop();
      if (!upgraded) turn.done(result);
    });
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve({
      kind: 'failed', code: result === 'timeout' ? 'upstream_timeout' : 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
    }));
    // A 101 that names no protocol comes here, too.
    outgoing.on('response', (message) => {
      clearTimeout(deadline);
      taken = true;
      turn.answering();
      message.once('end', () => {
        if (message.complete) result = 'answered';
      });
      resolve(finalAnswer(message, upstream.config.unframed));
    });
    client.once('close', () => {
      turn.done('abandoned');
      resolve({ kind: 'client_left' });
      outgoing.destroy();
    });
    outgoing.on('upgrade', (message, upstreamSocket, upstreamHead) => {
      clearTimeout(deadline);
      if (!accepted(webSocketKey, message)) {
        upstreamSocket.destroy();
        turn.done('failed');
        return resolve({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched to something that was not asked for' });
      }
      upgraded = true;
      turn.answering();
      stillness.stop();
      upstreamSocket.setTimeout(0);
      upstreamSocket.on('error', () => undefined);
      // However it ends: what was said on it is not ours to judge.
      upstreamSocket.on('close', () => turn.done('answered'));
      resolve({
        kind: 'upgraded', socket: upstreamSocket, head: upstreamHead, message,
        abandon: () => void upstreamSocket.destroy(),
        join: (clientSocket, head, rules) => join(clientSocket, head, upstreamSocket, upstreamHead, message, rules, upstream.config.timeouts.tunnel),
      });
    });
    outgoing.end();
  });
}

/** Whether a 101 answers this WebSocket request (RFC 6455 section 4.1). */
function accepted(key: string, message: IncomingMessage): boolean {
  const proof = hash('sha1', `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');
  return message.headers.upgrade?.toLowerCase() === 'websocket' && message.headers['sec-websocket-accept'] === proof;
}

function join(socket: Duplex, head: Buffer, upstreamSocket: Duplex, upstreamHead: Buffer, message: IncomingMessage, rules: ResponseRules, silence: number): Promise<StreamEnd> {
  let bytesOut = upstreamHead.length;
  let bytesIn = head.length;
  return new Promise((resolve) => {
    let fault: string | undefined;
    const ended = (): void => resolve({ bytesOut, bytesIn, ...(fault === undefined ? {} : { fault }) });
    socket.on('error', () => undefined);
    const timer = setTimeout(() => {
      fault = 'idle for too long';
      socket.destroy();
    }, silence);
    socket.on('close', () => {
      clearTimeout(timer);
      upstreamSocket.destroy();
      ended();
    });
    upstreamSocket.on('close', () => socket.destroy());
    if (socket.destroyed) {
      clearTimeout(timer);
      upstreamSocket.destroy();
      return ended();
    }
    if ('setTimeout' in socket) (socket as { setTimeout(ms: number): void }).setTimeout(0);
    const fields = clientHeaders(101, message.rawHeaders, rules);
    let text = 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n';
    for (let index = 0; index < fields.length; index += 2) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
    socket.write(`${text}\r\n`, 'latin1');
    if (upstreamHead.length > 0) socket.write(upstreamHead);
    if (head.length > 0) upstreamSocket.write(head);
    upstreamSocket.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length;
      timer.refresh();
    });
    socket.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length;
      timer.refresh();
    });
    upstreamSocket.pipe(socket);
    socket.pipe(upstreamSocket);
  });
}
