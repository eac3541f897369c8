import { z } from 'zod';
import { rate, size, timeout } from '../values.ts';
import { mapping, whole } from './shapes.ts';

export const http2 = mapping({
  enabled: z.boolean().describe('Whether clients may choose HTTP/2.').default(true),
  streams: whole(1, 10_000).describe('Requests that one connection may have under way at a time.').default(100),
  resets: rate.describe('Requests of one connection that may be reset, by either side, before the connection is ended.').prefault('600/minute'),
  control: size.describe('Octets a second of control frames (settings, pings, window updates, priorities, padding) that a connection may send beyond what its requests and answers explain.')
    .prefault('16KiB'),
  window: size.describe('Octets of a request body that a client may send ahead of us.').prefault('256KiB'),
  memory: size.describe('What one connection may make the HTTP/2 library hold in memory.').prefault('10MiB'),
  stall_time: timeout.describe('How long a client may take nothing of what waits for it.').prefault('60s'),
  stream_idle_time: timeout.describe('How long a gRPC call or a WebSocket may be silent in both directions; no grpc-timeout reaches further. A gRPC call is a POST with te: trailers and a content type of gRPC, to an upstream with protocol h2.').prefault('1h'),
}).describe('HTTP/2 and its limits, beside those under limits.').prefault({});
