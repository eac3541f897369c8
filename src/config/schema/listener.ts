import { z } from 'zod';
import { address, directoryPath, duration, name, network } from '../values.ts';
import { clientAuth } from './client-auth.ts';
import { httpLimits, redirectLimits, tcpLimits } from './connection-limits.ts';
import { http2 } from './http2.ts';
import { senders } from './senders.ts';
import { mapping, oneOf, some } from './shapes.ts';
import { tls } from './tls.ts';

const proxyProtocol = mapping({
  from: some(network, 'expected a list of networks such as 10.0.0.0/8')
    .describe('Addresses that must, and alone may, begin a connection with a PROXY header (v1 or v2).'),
});

const DEFAULT_HSTS = { max_age: 31_536_000_000, include_subdomains: true, preload: true };

const hsts = z.union(
  [
    z.boolean(),
    mapping({
      max_age: duration.describe('How long browsers remember to use HTTPS only.').prefault('365d'),
      include_subdomains: z.boolean().describe('Whether subdomains are covered.').default(true),
      preload: z.boolean().describe('Whether browsers may carry the name in their preload lists.').default(true),
    }),
  ],
  { error: 'expected true, false or { max_age, include_subdomains, preload }' },
).transform((value) => (value === true ? DEFAULT_HSTS : value));

const listenerName = name.describe('Name of the listener, as it appears in logs, metrics and the audit.');
const listenerAddress = address.describe('HOST:PORT to bind; port 0 takes a free one.');

const httpsListener = mapping({
  name: listenerName,
  address: listenerAddress,
  protocol: z.literal('https').describe('https: HTTP over TLS with client certificates. tcp: any protocol over TLS. redirect: sends plain HTTP to https.').default('https'),
  tls: tls.describe('The server side of TLS.'),
  client_auth: clientAuth.describe('What clients must show.'),
  reject: oneOf(['respond', 'close'])
    .describe('respond: finish TLS and answer a refused client with a coarse code. close: end its connection.').default('respond'),
  help: z.string().min(1).max(500, { error: 'expected at most 500 characters' })
    .describe('Whom people can ask, and how: shown to those whose browser is refused, beside what they can do themselves and the request\'s number.').exactOptional(),
  hsts: hsts.describe('The Strict-Transport-Security header of every response; true is one year, subdomains, preload.').prefault(true),
  proxy_protocol: proxyProtocol.describe('Balancers in front that tell the client\'s address.').exactOptional(),
  http1: mapping({
    fast_path: z.boolean().describe('Whether requests of the common shape take the short way; what they may do is decided alike on both.').default(true),
  }).describe('HTTP/1.1.').prefault({}),
  limits: httpLimits,
  http2,
});

const tcpListener = mapping({
  name: listenerName,
  address: listenerAddress,
  protocol: z.literal('tcp').describe('Any protocol over TLS, such as DICOM or MLLP.'),
  tls: tls.describe('The server side of TLS.'),
  client_auth: clientAuth.describe('What clients must show.'),
  allow: some(name, 'expected a list of at least one role').describe('Roles that may connect.'),
  senders: senders.describe('Who clients may say that they are in the octets of their protocol; absent: whatever they say passes.').exactOptional(),
  upstream: name.describe('Name of the upstream, whose endpoints are tls://.'),
  proxy_protocol: proxyProtocol.describe('Balancers in front that tell the client\'s address.').exactOptional(),
  limits: tcpLimits,
});

const redirectListener = mapping({
  name: listenerName,
  address: listenerAddress,
  protocol: z.literal('redirect').describe('Answers every request with 308 to https; nothing is ever forwarded.'),
  redirect_port: z.int({ error: 'expected a port number' }).min(1, { error: 'expected a port from 1 to 65535' }).max(65535, { error: 'expected a port from 1 to 65535' })
    .describe('Port of the https address that clients are sent to.').default(443),
  webroot: directoryPath.describe('Directory whose .well-known/acme-challenge/TOKEN answers the http-01 challenges of an ACME CA; nothing else in it is served.').exactOptional(),
  limits: redirectLimits,
});

export const listener = z.discriminatedUnion('protocol', [httpsListener, tcpListener, redirectListener], {
  error: (issue) => (issue.code === 'invalid_union' ? 'expected https, tcp or redirect' : undefined),
});
