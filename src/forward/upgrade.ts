import { hash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { Permit } from '../policy/authorize.ts';
import { clientHeaders, type ResponseRules } from './headers.ts';
import { finalAnswer, type Answer } from './general.ts';
import type { StreamEnd } from './tcp.ts';
import type { Upstream } from './upstream/pool.ts';

/** An upgrade that the upstream has accepted, not yet told to the client. */
export interface Upgraded {
  readonly kind: 'upgraded';
  /** Tells the client and joins the two connections; resolves when they have ended. */
  join(socket: Duplex, head: Buffer, rules: ResponseRules): Promise<StreamEnd>;
  abandon(): void;
}

export interface UpgradeForwarding {
  readonly permit: Permit;
  readonly request: IncomingMessage;
  readonly headers: IncomingHttpHeaders;
  readonly upstream: Upstream;
  /** Whose stream it is, for the choice of an endpoint. */
  readonly key: string;
}

/**
 * Asks the upstream for a WebSocket (RFC 6455). Ours and not http-proxy's, which tells the client 101 by itself: here the
 * record comes first. An upstream that declines gives an ordinary answer.
 */
export function forwardUpgrade({ request, headers, upstream, key }: UpgradeForwarding): Promise<Upgraded | Answer> {
  const turn = upstream.choose(key);
  if (turn.kind === 'failed') return Promise.resolve(turn);
  const { endpoint } = turn;
  const { 'content-length': _length, 'transfer-encoding': _coding, ...fields } = headers;
  return new Promise((resolve) => {
    const outgoing = httpsRequest({
      host: endpoint.url.hostname.replace(/^\[|\]$/g, ''),
      port: endpoint.url.port === '' ? 443 : endpoint.url.port,
      method: 'GET',
      path: request.url,
      headers: { ...fields, connection: 'Upgrade', upgrade: 'websocket' },
      // A connection of its own: whatever an upstream makes of an upgrade, no other request travels behind it.
      createConnection: () => connect(endpoint.connectOptions()),
      timeout: upstream.config.timeouts.response,
    });
    let timedOut = false;
    let taken = false;
    outgoing.on('close', () => turn.done(timedOut ? 'timeout' : taken ? 'answered' : 'failed'));
    outgoing.on('timeout', () => {
      timedOut = true;
      outgoing.destroy(new Error('no answer in time'));
    });
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve({
      kind: 'failed', code: timedOut ? 'upstream_timeout' : 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
    }));
    // A 101 that names no protocol comes here, too.
    outgoing.on('response', (message) => {
      taken = true;
      resolve(finalAnswer(message));
    });
    request.socket.once('close', () => {
      turn.done('abandoned');
      resolve({ kind: 'client_left' });
      outgoing.destroy();
    });
    outgoing.on('upgrade', (message, upstreamSocket, upstreamHead) => {
      if (!accepted(request, message)) {
        upstreamSocket.destroy();
        return resolve({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched to something that was not asked for' });
      }
      taken = true;
      upstreamSocket.setTimeout(0);
      upstreamSocket.on('error', () => undefined);
      // However it ends: what was said on it is not ours to judge.
      upstreamSocket.on('close', () => turn.done('answered'));
      resolve({
        kind: 'upgraded',
        abandon: () => void upstreamSocket.destroy(),
        join: (socket, head, rules) => join(socket, head, upstreamSocket, upstreamHead, message, rules),
      });
    });
    outgoing.end();
  });
}

/** Whether a 101 answers this WebSocket request (RFC 6455 section 4.1). */
function accepted(request: IncomingMessage, message: IncomingMessage): boolean {
  const key = request.headers['sec-websocket-key'] ?? '';
  const proof = hash('sha1', `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');
  return message.headers.upgrade?.toLowerCase() === 'websocket' && message.headers['sec-websocket-accept'] === proof;
}

function join(socket: Duplex, head: Buffer, upstreamSocket: Duplex, upstreamHead: Buffer, message: IncomingMessage, rules: ResponseRules): Promise<StreamEnd> {
  let bytesOut = upstreamHead.length;
  let bytesIn = head.length;
  return new Promise((resolve) => {
    const ended = (): void => resolve({ bytesOut, bytesIn });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      upstreamSocket.destroy();
      ended();
    });
    upstreamSocket.on('close', () => socket.destroy());
    if (socket.destroyed) {
      upstreamSocket.destroy();
      return ended();
    }
    if ('setTimeout' in socket) (socket as { setTimeout(ms: number): void }).setTimeout(0);
    const fields = clientHeaders(message.rawHeaders, rules);
    let text = 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n';
    for (let index = 0; index < fields.length; index += 2) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
    socket.write(`${text}\r\n`, 'latin1');
    if (upstreamHead.length > 0) socket.write(upstreamHead);
    if (head.length > 0) upstreamSocket.write(head);
    upstreamSocket.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length;
    });
    socket.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length;
    });
    upstreamSocket.pipe(socket);
    socket.pipe(upstreamSocket);
  });
}
