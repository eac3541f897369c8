import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import { listen } from './backend.ts';
import type { TestPki } from './pki.ts';

export interface SocketBackend {
  readonly port: number;
  close(): void;
}

/** An upstream that takes WebSockets beside requests, from clients with a certificate of the backend's CA. */
export async function startSocketBackend({ backendServer, backendCa }: TestPki, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<SocketBackend> {
  const server = createServer({ cert: backendServer.chain, key: backendServer.key, ca: backendCa.certificate, requestCert: true, rejectUnauthorized: true }, answer);
  const sockets = new WebSocketServer({ server });
  await listen(server);
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const client of sockets.clients) client.terminate();
      server.close();
      server.closeAllConnections();
    },
  };
}
