import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { Permit } from '../policy/authorize.ts';
import { clientHeaders, type ResponseRules } from './headers.ts';
import type { Answer } from './general.ts';
import type { Upstream } from './upstream/pool.ts';

/** An upgrade that the upstream has accepted, not yet told to the client. */
export interface Upgraded {
  readonly kind: 'upgraded';
  /** Tells the client and joins the two connections until one of them ends. */
  join(socket: Duplex, head: Buffer, rules: ResponseRules): void;
  abandon(): void;
}

export interface UpgradeForwarding {
  readonly permit: Permit;
  readonly request: IncomingMessage;
  readonly headers: IncomingHttpHeaders;
  readonly upstream: Upstream;
}

/**
 * Asks the upstream for a WebSocket (RFC 6455). Ours and not http-proxy's, which tells the client 101 by itself: here the
 * record comes first. An upstream that declines gives an ordinary answer.
 */
export function forwardUpgrade({ request, headers, upstream }: UpgradeForwarding): Promise<Upgraded | Exclude<Answer, { kind: 'client_left' }>> {
  const endpoint = upstream.next();
  return new Promise((resolve) => {
    const outgoing = httpsRequest({
      host: endpoint.url.hostname.replace(/^\[|\]$/g, ''),
      port: endpoint.url.port === '' ? 443 : endpoint.url.port,
      method: 'GET',
      path: request.url,
      headers: { ...headers, connection: 'Upgrade', upgrade: 'websocket' },
      agent: endpoint.agent,
      timeout: upstream.config.timeouts.response,
    });
    let timedOut = false;
    outgoing.on('timeout', () => {
      timedOut = true;
      outgoing.destroy(new Error('no answer in time'));
    });
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve({
      kind: 'failed', code: timedOut ? 'upstream_timeout' : 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
    }));
    outgoing.on('response', (message) => resolve({ kind: 'answer', message }));
    outgoing.on('upgrade', (message, upstreamSocket, upstreamHead) => {
      upstreamSocket.setTimeout(0);
      upstreamSocket.on('error', () => undefined);
      resolve({
        kind: 'upgraded',
        abandon: () => void upstreamSocket.destroy(),
        join: (socket, head, rules) => join(socket, head, upstreamSocket, upstreamHead, message, rules),
      });
    });
    outgoing.end();
  });
}

function join(socket: Duplex, head: Buffer, upstreamSocket: Duplex, upstreamHead: Buffer, message: IncomingMessage, rules: ResponseRules): void {
  socket.on('error', () => undefined);
  socket.on('close', () => upstreamSocket.destroy());
  upstreamSocket.on('close', () => socket.destroy());
  if (socket.destroyed) return void upstreamSocket.destroy();
  if ('setTimeout' in socket) (socket as { setTimeout(ms: number): void }).setTimeout(0);
  const fields = clientHeaders(message.rawHeaders, rules);
  let text = 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n';
  for (let index = 0; index < fields.length; index += 2) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
  socket.write(`${text}\r\n`, 'latin1');
  if (upstreamHead.length > 0) socket.write(upstreamHead);
  if (head.length > 0) upstreamSocket.write(head);
  upstreamSocket.pipe(socket);
  socket.pipe(upstreamSocket);
}
