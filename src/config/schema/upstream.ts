import { z } from 'zod';
import { endpointExpectation } from '../addresses.ts';
import { dnsServer, duration, endpoint, fieldHost, hostName, percent, requestPath, statuses, timeout } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { profile } from './tls.ts';
import { forward, mapping, oneOf, oneOrMore, some, trustFiles, whole } from './shapes.ts';

const weightedEndpoint = z.union(
  [
    endpoint.transform((value) => ({ ...value, weight: 1 })),
    mapping({
      url: endpoint.describe('The server: https://HOST[:PORT], or tls://HOST:PORT.'),
      weight: whole(1, 1000).describe('Its share beside the other endpoints.').default(1),
    }).transform(({ url, weight }) => ({ ...url, weight })),
  ],
  { error: (issue) => endpointExpectation(issue.input) },
);

const health = mapping({
  path: requestPath.describe('Path of a GET request; absent: a verified TLS connection is enough, as for tls:// endpoints.').exactOptional(),
  host: fieldHost.describe('Host field of the request; absent: tls.server_name, or the endpoint\'s own.').exactOptional(),
  status: oneOrMore(statuses, 'expected a status such as 200, a range of them such as 200-299, or a list of these')
    .describe('Statuses that mean it is well, each a status or a range such as 200-299.').prefault(['200-299']),
  interval: timeout.describe('How often each endpoint is looked at, once for the whole gateway.').prefault('10s'),
  timeout: timeout.describe('How long one look may take, from the connection to the end of the answer.').prefault('2s'),
  healthy: whole(1, 100).describe('Good looks in a row that bring an endpoint back.').default(2),
  unhealthy: whole(1, 100).describe('Bad looks in a row that take it out.').default(3),
});

const ejection = mapping({
  failures: whole(1, 1000).describe('Failures in a row after which an endpoint is left out; a certificate that does not verify is enough by itself.').default(5),
  time: timeout.describe('How long it is left out the first time; twice as long each time after.').prefault('30s'),
  longest: timeout.describe('How long it is left out at most.').prefault('5m'),
  most: percent.describe('How many of the endpoints may be out for this reason, and never the last one; 0% switches it off.').prefault('67%'),
});

const retries = mapping({
  attempts: whole(1, 10).describe('How often a request is tried at most, the first time included.').default(2),
  budget: percent.describe('How many retries there may be, as a share of the requests; ten more are always at hand on each thread.').prefault('20%'),
});

const upstreamLimits = mapping({
  requests: whole(1, 10_000_000).describe('Requests and streams under way at a time, on all threads together.').default(10_000),
  endpoint_requests: whole(1, 10_000_000).describe('The same for each address of an endpoint.').exactOptional(),
  connections: whole(1, 1_000_000).describe('Connections to each address of an endpoint, idle ones included, shared equally among the threads.').exactOptional(),
});

const resolve = mapping({
  interval: timeout.describe('How often host names are looked up again.').prefault('30s'),
  timeout: timeout.describe('How long an answer is waited for.').prefault('2s'),
  keep: duration.describe('How long the last addresses stay in use when the name cannot be looked up any more.').prefault('1h'),
  prefer: oneOf(['ipv4', 'ipv6', 'both']).describe('Which addresses are used of a host that has both kinds.').default('ipv4'),
  servers: z.array(dnsServer, { error: 'expected a list of addresses of DNS servers such as [10.0.0.53]' })
    .describe('DNS servers that are asked for whole names; none: the system looks up, by its hosts file and search list.').default([]),
});

const upstreamTls = mapping({
  trust: trustFiles.describe('PEM files of the CA certificates the upstream is verified by; the system\'s own are never used.'),
  ...ownPair('the gateway\'s own client certificate'),
  profile: profile.describe('What is offered to the upstream, as for listeners; absent: TLS 1.2 and 1.3 with every suite of ECDHE and AES-GCM or ChaCha20.').exactOptional(),
  server_name: hostName.describe('Name the upstream\'s certificate must carry; absent: the host of the endpoint.').exactOptional(),
});

const timeouts = mapping({
  connect: timeout.describe('How long a connection may take to open, TLS included.').prefault('5s'),
  response: timeout.describe('How long the header of an answer is waited for, once the request has been sent.').prefault('60s'),
  idle: timeout.describe('How long an unused connection is kept, and how long a body may stand still; one that moves, however slowly, is not ended.').prefault('60s'),
  tunnel: timeout.describe('How long a WebSocket may be silent in both directions.').prefault('1h'),
});

export const upstream = mapping({
  endpoints: some(weightedEndpoint, 'expected a list of at least one https://HOST:PORT').describe('Servers: https:// for routes, tls:// for tcp listeners. A host name stands for all its addresses.'),
  protocol: oneOf(['http/1.1', 'h2']).describe('HTTP version towards the upstream; h2 is needed for gRPC, and must be offered by ALPN.').default('http/1.1'),
  balance: oneOf(['round_robin', 'least_connections', 'hash'])
    .describe('Which endpoint serves: each in its turn; the one with the fewest requests under way; always the same for the same client id (or address, without one).').default('round_robin'),
  slow_start: duration.describe('How long the share of an endpoint that returns grows to its full size.').prefault('10s'),
  all_down: oneOf(['try', 'refuse'])
    .describe('When no endpoint is known to work: try asks the one that failed longest ago, refuse answers 502 at once.').default('try'),
  proxy_protocol: oneOf(['v2', 'v2-ssl', 'v2-ssl-cn'])
    .describe('A PROXY header in front of each connection of a tcp listener, in the clear and before TLS, as HAProxy sends it: v2 tells the client\'s address and the stream\'s id, v2-ssl its TLS version, cipher and server name as well, v2-ssl-cn the common name of its certificate, too.').exactOptional(),
  health: health.describe('Each endpoint is looked at, whether it is used or not; absent: they are not.').exactOptional(),
  ejection: ejection.describe('Endpoints that fail requests are left out for a while.').prefault({}),
  retries: retries.describe('Requests that are tried again, elsewhere if there is another endpoint: any of which nothing was sent, and GET, HEAD, OPTIONS and TRACE without a body as long as nothing of an answer has come.').prefault({}),
  limits: upstreamLimits.describe('What is beyond them is answered 503 at once; nothing queues.').prefault({}),
  resolve: resolve.describe('How host names of endpoints become addresses.').prefault({}),
  tls: upstreamTls.describe('TLS towards the upstream, always verified.'),
  timeouts: timeouts.describe('Deadlines towards the upstream.').prefault({}),
  forward: forward.describe('Further headers to this upstream.').prefault({}),
  unframed: oneOf(['pass', 'refuse'])
    .describe('Answers whose end is the end of their connection, which looks the same when the upstream dies within them. pass: they are whole when it ends. refuse: 502.').default('pass'),
});
