import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { connect, type AddressInfo, type Server } from 'node:net';
import { Readable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { relayToStream } from '../src/forward/http2/relay.ts';
import { relayAnswer } from '../src/forward/relay.ts';

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

it('a client that leaves while its record is written gets no second one: HTTP/1.1', async () => {
  const upstream = await listening(createServer((_request, response) => response.end('hello')));
  const front = createServer();
  const client = connect(await listening(front), '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const [, response] = await once(front, 'request') as [IncomingMessage, ServerResponse];
  const [answer] = await once(get({ port: upstream, agent: false }), 'response') as [IncomingMessage];
  response.writeHead(200, { 'content-length': 5 });
  const end = await relayAnswer(answer, response, async () => {
    client.destroy();
    await once(response, 'close');
  });
  expect(end).toEqual({ kind: 'complete', bytes: 5 });
});

it('a client that leaves while its record is written gets no second one: HTTP/2', async () => {
  const front = createHttp2Server();
  const session = connectHttp2(`http://127.0.0.1:${await listening(front)}`);
  const asked = session.request({ ':path': '/' });
  asked.on('error', () => undefined);
  const [stream] = await once(front, 'stream') as [ServerHttp2Stream];
  const noop = (): void => undefined;
  const end = await relayToStream({
    stream, head: [':status', '200', 'content-length', '5'], headOnly: false, trailers: () => undefined, watch: { wrote: noop, waiting: noop, moving: noop },
    answer: { kind: 'answer', status: 200, fields: [], length: 5, body: Readable.from([Buffer.from('hello')]), whole: () => true, late: () => false, trailers: () => [] },
    async commit() {
      asked.destroy();
      await once(stream, 'close');
    },
  });
  expect(end.kind).toBe('complete');
  session.destroy();
});
