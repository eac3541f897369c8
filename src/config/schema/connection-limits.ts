import { z } from 'zod';
import { amount, size, timeout } from '../values.ts';
import { count, mapping } from './shapes.ts';

const connectionLimits = {
  connections: count('Open connections at a time, on all threads together; further ones are closed as they come.').default(10_000),
  connections_per_address: count('Those of them that one address may have (IPv6: one /64); the address is the client\'s where a balancer tells it. Absent: no limit.').exactOptional(),
};

const tlsConnectionLimits = {
  ...connectionLimits,
  connections_per_certificate: count('Those of them that one certificate may have; further ones are closed after their handshake. Absent: no limit.').exactOptional(),
  handshake_time: timeout.describe('How long a client may take for its TLS handshake; where its first message is read before, as with several names, once for that and once for the rest.').prefault('10s'),
};

const headerLimits = {
  header_time: timeout.describe('How long a client may take to send the header of a request.').prefault('10s'),
  header_size: size.describe('Size of a request header, start line included.').prefault('16KiB'),
  header_fields: count('Fields of a request header.').default(100),
};

const minRate = z.union(
  [
    z.literal(false),
    mapping({
      per_second: amount.describe('Octets a second that a client must send of a body, or take of an answer that waits for it, on average.').prefault('256B'),
      grace: timeout.describe('How long it may stay behind that: to pause, or because its network does. What the system has taken for it counts as taken, which shows in steps of up to megabytes.').prefault('60s'),
    }),
  ],
  { error: 'expected false or { per_second, grace }' },
);

export const httpLimits = mapping({
  ...tlsConnectionLimits,
  ...headerLimits,
  request_time: timeout.describe('How long a client may take to send a whole request, body included.').prefault('5m'),
  idle_time: timeout.describe('How long a connection without a request stays open.').prefault('60s'),
  body: size.describe('Size of a request body on routes that set no limit of their own; absent: no limit, bodies are streamed.').exactOptional(),
  min_rate: minRate.describe('How slow a client may be; idle connections and WebSockets are none of it. false: as slow as it likes.').prefault({}),
  pipelined_requests: count('HTTP/1.1 requests that a client may send before their answers; further ones end the connection.').default(64),
  requests_per_connection: count('Requests that one connection may bring; the last answer says that it is. Absent: no limit.').exactOptional(),
}).describe('Limits of each connection; slow or greedy clients are cut off.').prefault({});

export const tcpLimits = mapping({
  ...tlsConnectionLimits,
  first_octets_time: timeout.describe('Where senders are listed, how long a client may take to say who it is: in DICOM from the connection on, in MLLP from the first octet of its first message on.').prefault('10s'),
  idle_time: timeout.describe('How long a connection may be silent in both directions.').prefault('1h'),
}).describe('Limits of each connection.').prefault({});

export const redirectLimits = mapping({ ...connectionLimits, ...headerLimits }).describe('Limits of each connection.').prefault({});
