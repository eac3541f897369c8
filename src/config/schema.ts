import { z } from 'zod';
import {
  address, aeTitle, amount, collectorUrl, directoryPath, dnsServer, duration, endpoint, endpointExpectation, fieldHost, filePath, headerName, hl7Name, hostAndPort, hostName,
  hostPattern, httpUrl, idTemplate, method, name, nameAttribute, network, oid, parameterName, pathPattern, pattern, percent, rate, redisUrl,
  requestPath, size, statuses, timeout, watermark,
} from './values.ts';

export type { Address, Endpoint, Rate, StatusRange, Watermark } from './values.ts';

/**
 * A mapping that refuses unknown keys. The message of that refusal is the list of the known keys: the loader words
 * one issue for each unknown key from it.
 */
function mapping<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, { error: (issue) => (issue.code === 'unrecognized_keys' ? known : undefined) });
}

function whole(least: number, most: number) {
  return z.int({ error: 'expected a whole number' }).min(least, { error: `expected at least ${least}` }).max(most, { error: `expected at most ${most}` });
}

function oneOf<const Values extends readonly string[]>(values: Values) {
  return z.enum(values, { error: `expected ${listed(values)}` });
}

function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

function some<Item extends z.core.SomeType>(item: Item, expected: string) {
  return z.array(item, { error: expected }).min(1, { error: expected });
}

/** One value or a list of them; always a list afterwards. */
function oneOrMore<Item extends z.ZodType<unknown, string | number>>(item: Item, expected: string) {
  return z.union([item.transform((value) => [value]), some(item, expected)], { error: expected });
}

/** The same, where none at all is an answer as well. */
function anyNumber<Item extends z.ZodType<unknown, string>>(item: Item, expected: string) {
  return z.union([item.transform((value) => [value]), z.array(item, { error: expected })], { error: expected });
}

const trustFiles = oneOrMore(filePath, 'expected one file of CA certificates, or a list of them');
const patterns = oneOrMore(pattern, 'expected text, in which * stands for anything, or a list of such texts');

const unavailable = z.union(
  [
    oneOf(['deny', 'allow']),
    mapping({
      allow_for: timeout.describe('How long after the last good answer a certificate is still admitted when no source can say anything about it.'),
    }),
  ],
  { error: 'expected deny, allow or { allow_for: DURATION }' },
);

const nameMatch = z.record(nameAttribute, patterns, { error: 'expected a mapping of name attributes such as { OU: Doctors }' })
  .refine((value) => Object.keys(value).length > 0, { error: 'expected at least one name attribute such as { OU: Doctors }' });

const sanMatch = mapping({
  dns: patterns.describe('Pattern for a dNSName, or a list of patterns of which one must match.').exactOptional(),
  email: patterns.describe('Patterns for an rfc822Name.').exactOptional(),
  uri: patterns.describe('Patterns for a uniformResourceIdentifier.').exactOptional(),
  ip: patterns.describe('Patterns for an iPAddress, as text.').exactOptional(),
  upn: patterns.describe('Patterns for a user principal name (otherName 1.3.6.1.4.1.311.20.2.3).').exactOptional(),
  other: z.record(oid, patterns, { error: 'expected a mapping of object identifiers to patterns' })
    .describe('Patterns for the text of an otherName, by the object identifier of its type.').exactOptional(),
}).refine((value) => Object.keys(value).length > 0, { error: 'expected at least one of dns, email, uri, ip, upn or other' });

const certificateMatch = mapping({
  subject: nameMatch.describe('Attributes of the subject, each a pattern or a list of patterns; every attribute named must match.').exactOptional(),
  issuer: nameMatch.describe('Attributes of a CA on the certificate\'s path, in the same form.').exactOptional(),
  san: sanMatch.describe('Subject alternative names; every kind that is named must match.').exactOptional(),
  policy: some(oid, 'expected a list of certificate policy OIDs').describe('Certificate policies, of which the certificate must carry one.').exactOptional(),
  eku: some(oid, 'expected a list of extended key usage OIDs').describe('Extended key usages, of which the certificate must carry one.').exactOptional(),
}).refine((value) => Object.keys(value).length > 0, {
  error: 'expected at least one of subject, issuer, san, policy or eku: a match of nothing would match everyone',
});

const tls = mapping({
  profile: oneOf(['bcp195', 'modern', 'ihe-atna', 'dicom', 'device'])
    .describe('Versions, cipher suites and groups: bcp195 is TLS 1.2 and 1.3 with four strong suites, modern is TLS 1.3 only.').default('bcp195'),
  certificates: some(
    mapping({
      certificate: filePath.describe('PEM file of the server certificate, then its intermediates.'),
      key: filePath.describe('PEM file of its private key; others must not be able to read it, nor the group to write it.'),
    }),
    'expected a list of at least one { certificate, key }',
  ).describe('Server certificates, chosen by the name the client asks for and by the key types it supports.'),
  session_resumption: z.boolean().describe('Whether clients may resume TLS sessions; every resumption is admitted again.').default(true),
  session_tickets: mapping({
    secret_file: filePath.describe('File of at least 32 secret bytes from which ticket keys are made, the same on every replica.').exactOptional(),
    rotate: timeout.describe('How often ticket keys change.').exactOptional(),
  }).describe('Ticket keys; without this section the gateway makes its own at start.').exactOptional(),
});

const clientAuth = mapping({
  mode: oneOf(['required', 'optional'])
    .describe('required: no request is served without a good certificate. optional: each route decides.').default('required'),
  trust: trustFiles.describe('PEM files of the CA certificates (or single pinned certificates) that clients are trusted by.'),
  intermediates: anyNumber(filePath, 'expected one file of intermediate certificates, or a list of them')
    .describe('PEM files of intermediate CA certificates that help to build paths; they are not trusted by themselves.').default([]),
  fetch_intermediates: mapping({
    from: some(hostAndPort, 'expected a list of hosts such as pki.hospital.test')
      .describe('Hosts, with the port where it is not the usual one, that may be asked for the sake of a certificate that nobody vouches for yet.'),
  }).describe('Intermediates that a client does not send are fetched from where its certificate says (AIA); absent: they are not.').exactOptional(),
  names: z.record(
    hostName,
    mapping({
      trust: trustFiles.describe('PEM files of the CA certificates that clients are trusted by under this name.'),
      intermediates: anyNumber(filePath, 'expected one file of intermediate certificates, or a list of them')
        .describe('Further intermediates for this name.').default([]),
    }),
    { error: 'expected a mapping of host names to { trust: [FILE] }' },
  ).describe('Other CAs for other server names (SNI).').default({}),
  forwarded: mapping({
    header: headerName.describe('Request header that carries the client certificate (RFC 9440).').default('Client-Cert'),
    by: certificateMatch.describe('Which certificate the front itself must present; the header of anyone else is dropped.'),
  }).describe('A front that ends TLS for us and names its client\'s certificate in a header.').exactOptional(),
});

function count(description: string) {
  return z.int({ error: 'expected a whole number' }).min(1, { error: 'expected at least 1' }).max(1_000_000, { error: 'expected at most 1000000' }).describe(description);
}

const rates = z.array(mapping({
  per: oneOf(['certificate', 'address', 'role', 'route']).describe('Whose requests are counted together: those of one certificate (or address, without one), of one address (IPv6: one /64), of all who have the role, of all who use the route.'),
  rate: some(rate, 'expected a list of rates such as 10/minute').describe('How many; each of several windows counts.'),
  roles: some(name, 'expected a list of roles').describe('For whom it is; absent: for everybody.').exactOptional(),
  count: oneOf(['requests', 'denials']).describe('denials: only what is denied counts, and who has too many of those is served nothing.').default('requests'),
}), { error: 'expected a list of { per, rate }' });

const connectionLimits = {
  connections: count('Open connections at a time, on all threads together; further ones are closed as they come.').default(10_000),
  connections_per_address: count('Those of them that one address may have (IPv6: one /64); the address is the client\'s where a balancer tells it. Absent: no limit.').exactOptional(),
};

const tlsConnectionLimits = {
  ...connectionLimits,
  connections_per_certificate: count('Those of them that one certificate may have; further ones are closed after their handshake. Absent: no limit.').exactOptional(),
  handshake_time: timeout.describe('How long a client may take for its TLS handshake.').prefault('10s'),
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

const httpLimits = mapping({
  ...tlsConnectionLimits,
  ...headerLimits,
  request_time: timeout.describe('How long a client may take to send a whole request, body included.').prefault('5m'),
  idle_time: timeout.describe('How long a connection without a request stays open.').prefault('60s'),
  body: size.describe('Size of a request body on routes that set no limit of their own; absent: no limit, bodies are streamed.').exactOptional(),
  min_rate: minRate.describe('How slow a client may be; idle connections and WebSockets are none of it. false: as slow as it likes.').prefault({}),
  pipelined_requests: count('HTTP/1.1 requests that a client may send before their answers; further ones end the connection.').default(64),
  requests_per_connection: count('Requests that one connection may bring; the last answer says that it is. Absent: no limit.').exactOptional(),
}).describe('Limits of each connection; slow or greedy clients are cut off.').prefault({});

const http2 = mapping({
  enabled: z.boolean().describe('Whether clients may choose HTTP/2.').default(true),
  streams: z.int({ error: 'expected a whole number' }).min(1, { error: 'expected at least 1' }).max(10_000, { error: 'expected at most 10000' })
    .describe('Requests that one connection may have under way at a time.').default(100),
  resets: rate.describe('Requests of one connection that may be reset, by either side, before the connection is ended.').prefault('600/minute'),
  control: size.describe('Octets a second of control frames (settings, pings, window updates, priorities, padding) that a connection may send beyond what its requests and answers explain.')
    .prefault('16KiB'),
  window: size.describe('Octets of a request body that a client may send ahead of us.').prefault('256KiB'),
  memory: size.describe('What one connection may make the HTTP/2 library hold in memory.').prefault('10MiB'),
  stall_time: timeout.describe('How long a client may take nothing of what waits for it.').prefault('60s'),
  stream_idle_time: timeout.describe('How long a gRPC call or a WebSocket may be silent in both directions; no grpc-timeout reaches further. A gRPC call is a POST with te: trailers and a content type of gRPC, to an upstream with protocol h2.').prefault('1h'),
}).describe('HTTP/2 and its limits, beside those under limits.').prefault({});

const tcpLimits = mapping({
  ...tlsConnectionLimits,
  first_octets_time: timeout.describe('Where senders are listed, how long a client may take to say who it is: in DICOM from the connection on, in MLLP from the first octet of its first message on.').prefault('10s'),
  idle_time: timeout.describe('How long a connection may be silent in both directions.').prefault('1h'),
}).describe('Limits of each connection.').prefault({});

const redirectLimits = mapping({ ...connectionLimits, ...headerLimits }).describe('Limits of each connection.').prefault({});

const proxyProtocol = mapping({
  from: some(network, 'expected a list of networks such as 10.0.0.0/8')
    .describe('Addresses that must, and alone may, begin a connection with a PROXY header (v1 or v2).'),
});

const senderId = patterns.describe('Pattern for the id that the client has from its role, or a list of patterns; case does not count.');
const hl7Names = oneOrMore(hl7Name, 'expected a name as HL7 writes it (no | and ~, separators within as \\T\\), in which * stands for anything, or a list of such names');
const aeTitles = oneOrMore(aeTitle, 'expected an AE title (16 characters at most, no backslash), in which * stands for anything, or a list of such titles');

const senders = mapping({
  mllp: some(
    mapping({
      id: senderId,
      application: hl7Names.describe('MSH-3, as a message with the usual separators has it; * stands for anything within a component, {id} for the client\'s id; * alone for any field. Case counts. Absent: any.').exactOptional(),
      facility: hl7Names.describe('MSH-4, in the same form.').exactOptional(),
    }).refine(({ application, facility }) => application !== undefined || facility !== undefined, { error: 'expected application, facility or both' }),
    'expected a list of at least one { id, application, facility }',
  ).describe('The listener carries HL7 v2 in MLLP frames, and every message (and batch) must name a sender that an entry for its client allows.').exactOptional(),
  dicom: some(
    mapping({
      id: senderId,
      calling: aeTitles.describe('Calling AE title; * stands for anything, {id} for the client\'s id. Case counts, blanks around it do not.'),
      called: aeTitles.describe('Called AE title, in the same form. Absent: any.').exactOptional(),
    }),
    'expected a list of at least one { id, calling, called }',
  ).describe('The listener carries DICOM, one association a connection, and its AE titles must be those that an entry for its client allows.').exactOptional(),
}).refine((value) => Object.keys(value).length === 1, { error: 'expected exactly one of mllp or dicom' }).meta({ minProperties: 1, maxProperties: 1 });

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
  limits: redirectLimits,
});

const listener = z.discriminatedUnion('protocol', [httpsListener, tcpListener, redirectListener], {
  error: (issue) => (issue.code === 'invalid_union' ? 'expected https, tcp or redirect' : undefined),
});

const revocation = mapping({
  check: oneOf(['chain', 'leaf', 'off'])
    .describe('chain: every certificate of the path but the anchor. leaf: the client\'s own only. off: nothing but the deny list.').default('chain'),
  sources: some(oneOf(['crl', 'ocsp']), 'expected a list of crl, ocsp or both')
    .refine((value) => new Set(value).size === value.length, { error: 'expected each source once' })
    .describe('Sources in the order they are asked until one is conclusive; the deny list is always first.').default(['crl', 'ocsp']),
  unavailable: unavailable.describe('What happens when no source is conclusive; routes may override it.').default('deny'),
  skew: duration.describe('Difference allowed between our clock and the PKI\'s.').prefault('60s'),
  proxy: httpUrl.describe('HTTP proxy that CRLs and OCSP answers are fetched through; it must itself keep requests for names that certificates choose away from the inside.').exactOptional(),
  allow_local: z.boolean().describe('Whether URLs that certificates name may lead to this host, as in a demonstration.').default(false),
  crl: mapping({
    files: anyNumber(filePath, 'expected one CRL file, or a list of them').describe('CRL files, DER or PEM; read again when they change.').default([]),
    urls: anyNumber(httpUrl, 'expected one URL of a CRL, or a list of them').describe('URLs of CRLs.').default([]),
    from_certificate: z.boolean().describe('Whether the distribution points of validated certificates are followed.').default(false),
    refresh: timeout.describe('How often CRLs are looked at again.').prefault('10m'),
    timeout: timeout.describe('How long a client waits for a CRL that is not known yet; the download itself may go on for a minute.').prefault('2s'),
    max_size: size.describe('Size of a CRL that is downloaded; a longer one is not taken.').prefault('64MiB'),
  }).describe('Certificate revocation lists.').prefault({}),
  ocsp: mapping({
    responder: httpUrl.describe('URL of the responder; absent: the one that the certificate names (AIA).').exactOptional(),
    from_certificate: z.boolean().describe('Whether the responder that a validated certificate names is asked.').default(true),
    timeout: timeout.describe('How long an answer is waited for.').prefault('2s'),
    max_age: timeout.describe('How long an answer is trusted at most after it came, whatever its nextUpdate says.').prefault('10m'),
    method: oneOf(['POST', 'GET']).describe('GET lets HTTP caches answer and goes without a nonce.').default('POST'),
  }).describe('The online certificate status protocol.').prefault({}),
}).describe('How it is found out whether a certificate is still good.').prefault({});

const role = mapping({
  role: name.describe('Name of the role. Several entries may give the same role.'),
  match: certificateMatch.describe('What the certificate must carry; every part that is named must match.'),
  id: idTemplate.describe('How the identity is named, from the certificate: {subject.CN}, {subject.OID}, {issuer.CN}, {san.dns}, {san.email}, {san.uri}, {san.ip}, {san.upn}, {san.other.OID}, {serial}, {fingerprint}.').default('{subject.CN}'),
});

const patient = mapping({
  path: parameterName.describe('Parameter of the route\'s path that names the patient.').exactOptional(),
  query: parameterName.describe('Query parameter that names the patient.').exactOptional(),
  header: headerName.describe('Request header that names the patient.').exactOptional(),
  body: oneOf(['fhir']).describe('fhir: the patient reference of the FHIR resource in the body.').exactOptional(),
}).refine((value) => Object.keys(value).length === 1, { error: 'expected exactly one of path, query, header or body' })
  .meta({ minProperties: 1, maxProperties: 1 });

const forward = mapping({
  client_cert_chain: z.boolean().describe('Whether the upstream also gets Client-Cert-Chain (RFC 9440).').exactOptional(),
  xfcc: z.boolean().describe('Whether the upstream also gets X-Forwarded-Client-Cert (Envoy\'s form).').exactOptional(),
});

const route = mapping({
  name: name.describe('Name of the route, as it appears in logs, metrics and the audit.'),
  match: mapping({
    host: oneOrMore(hostPattern, 'expected a host name such as api.hospital.test or *.hospital.test, or a list of them')
      .describe('Host name, or list of them; *. in front stands for one label. Absent: any host.').exactOptional(),
    path: pathPattern.describe('/a is that path, /a/:id one segment more, /a/* everything below it. Absent: any path.').default('/*'),
    methods: some(method, 'expected a list of methods such as [GET]').describe('Methods. Absent: any.').exactOptional(),
  }).describe('Which requests the route is for; the first route that matches decides.'),
  allow: some(name, 'expected a list of at least one role, or public').describe('Roles that may use the route; public needs no certificate.'),
  upstream: name.describe('Name of the upstream that serves it.'),
  limits: mapping({
    rate: some(rate, 'expected a list of rates such as 10/minute').describe('Requests that one certificate may make; the short form of rates with per: certificate.').exactOptional(),
    rates: rates.describe('Further limits on how often the route may be used, counted once a gateway, with store.redis once for all of them. Denied requests add to those per address, too.').default([]),
    body: size.describe('Size of a request body.').exactOptional(),
  }).describe('Limits of the route.').prefault({}),
  unavailable: unavailable.describe('Overrides revocation.unavailable for this route.').exactOptional(),
  require: mapping({
    policy: some(oid, 'expected a list of certificate policy OIDs').describe('Certificate policies, of which the certificate must carry one.').exactOptional(),
    networks: some(network, 'expected a list of networks such as 10.1.0.0/16').describe('Networks that requests must come from.').exactOptional(),
    second_factor: oneOf(['totp', 'sms']).describe('Second factor that the session must have shown.').exactOptional(),
  }).describe('What is required beyond the role.').prefault({}),
  patient: patient.describe('Where a request names the patient it concerns.').exactOptional(),
  phi: z.boolean().describe('Whether answers carry health data: they are no-store, and audited durably or not sent.').default(false),
  responses: mapping({
    upgrade_insecure_requests: z.boolean().describe('Whether answers tell browsers to fetch over https what the page names over http (Content-Security-Policy, beside the upstream\'s own).').default(false),
  }).describe('What is added to answers.').prefault({}),
  preflight: oneOf(['deny', 'allow']).describe('allow: CORS preflights, which never carry a certificate, pass to the upstream.').default('deny'),
  forward: forward.describe('Further headers to the upstream; overrides the upstream\'s own setting.').prefault({}),
});

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

const upstream = mapping({
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
  tls: mapping({
    trust: trustFiles.describe('PEM files of the CA certificates the upstream is verified by; the system\'s own are never used.'),
    certificate: filePath.describe('PEM file of the gateway\'s own client certificate, then its intermediates.').exactOptional(),
    key: filePath.describe('PEM file of its private key.').exactOptional(),
    server_name: hostName.describe('Name the upstream\'s certificate must carry; absent: the host of the endpoint.').exactOptional(),
  }).describe('TLS towards the upstream, always verified.'),
  timeouts: mapping({
    connect: timeout.describe('How long a connection may take to open, TLS included.').prefault('5s'),
    response: timeout.describe('How long the header of an answer is waited for, once the request has been sent.').prefault('60s'),
    idle: timeout.describe('How long an unused connection is kept, and how long a body may stand still; one that moves, however slowly, is not ended.').prefault('60s'),
    tunnel: timeout.describe('How long a WebSocket may be silent in both directions.').prefault('1h'),
  }).describe('Deadlines towards the upstream.').prefault({}),
  forward: forward.describe('Further headers to this upstream.').prefault({}),
  unframed: oneOf(['pass', 'refuse'])
    .describe('Answers whose end is the end of their connection, which looks the same when the upstream dies within them. pass: they are whole when it ends. refuse: 502.').default('pass'),
});

const tracing = mapping({
  endpoint: collectorUrl.describe('OTLP/HTTP endpoint of an OpenTelemetry collector, whole, as in https://collector.hospital.test:4318/v1/traces; http:// on this host only.'),
  trust: trustFiles.describe('PEM files of the CA certificates the collector is verified by; needed for https://, the system\'s own are never used.').exactOptional(),
  certificate: filePath.describe('PEM file of the gateway\'s own client certificate, then its intermediates.').exactOptional(),
  key: filePath.describe('PEM file of its private key.').exactOptional(),
  authorization_file: filePath.describe('File that holds the value of the Authorization header; others must not be able to read it.').exactOptional(),
  sample: z.number({ error: 'expected a number from 0 to 1' }).min(0, { error: 'expected a number from 0 to 1' }).max(1, { error: 'expected a number from 0 to 1' })
    .describe('Share of the traces that begin here and are told of; where the client has begun one, its own sampled flag decides.').default(1),
  service_name: name.describe('The resource attribute service.name.').default('wardgate'),
  include: z.array(oneOf(['client_subject', 'client_address', 'url_path']), { error: 'expected a list of client_subject, client_address and url_path' })
    .describe('Attributes that name persons or patients, and are left out unless they stand here: tls.client.subject, client.address, url.path.').default([]),
});

/** The configuration as it is written; defaults that depend on other keys are filled in by `completeConfig`. */
export const configSchema = mapping({
  state: directoryPath.describe('Directory of the deny list, caches and audit; created with mode 0700.').default('./state'),
  threads: z.int({ error: 'expected a whole number' }).min(1, { error: 'expected at least 1' }).max(256, { error: 'expected at most 256' })
    .describe('Threads that serve connections; absent: one for each core of the machine.').exactOptional(),
  limits: mapping({
    connections: count('Open connections of all listeners at a time; never more than half of the file descriptors that the process may have, since each may need one to an upstream.').default(100_000),
    rates: rates.describe('How often anything may be asked, all routes together.').default([]),
    memory: mapping({
      shed_above: watermark.describe('Memory of the process above which new connections are closed as they come, and open ones go on: a share of what there is (of the container, or the machine), or a size.').prefault('90%'),
    }).describe('What happens before memory runs out.').prefault({}),
  }).describe('Limits of the gateway as a whole.').prefault({}),
  listeners: some(listener, 'expected a list of at least one listener').describe('Addresses that the gateway listens on.'),
  revocation,
  roles: z.array(role).describe('From certificate to role; the first match wins, no match is no role.').default([]),
  routes: z.array(route).describe('What may be asked by whom; the first match wins, no match is 404.').default([]),
  upstreams: z.record(name, upstream, { error: 'expected a mapping of names to upstreams' }).describe('Servers behind the gateway, by name.').default({}),
  audit: mapping({
    directory: directoryPath.describe('Directory of the audit files; absent: audit in the state directory.').exactOptional(),
  }).describe('The record of every decision.').prefault({}),
  store: mapping({
    redis: redisUrl.describe('Redis or Valkey server through which replicas share the deny list and revocation epochs: rediss://HOST:PORT/DB, or redis:// on a trusted network.'),
    password_file: filePath.describe('File that holds its password; others must not be able to read it.').exactOptional(),
    trust: trustFiles.describe('PEM files of the CA certificates the server is verified by.').exactOptional(),
    prefix: name.describe('What the keys of this gateway begin with.').default('wardgate'),
  }).describe('What several gateways share; absent: this gateway stands alone.').exactOptional(),
  admin: mapping({
    socket: filePath.describe('Unix socket of the admin interface; absent: admin.sock in the state directory.').exactOptional(),
  }).describe('The interface that wardgate\'s own commands use.').prefault({}),
  tracing: tracing.describe('Spans for an OpenTelemetry collector; absent: none, and trace contexts pass as they are.').exactOptional(),
  metrics: mapping({
    address: address.describe('HOST:PORT of /metrics, /healthz and /readyz, plain HTTP.'),
  }).describe('Metrics and health; absent: off.').exactOptional(),
});

type Immutable<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Immutable<Item>[]
    : { readonly [Key in keyof T]: Immutable<T[Key]> };

type ParsedConfig = z.output<typeof configSchema>;

/**
 * The whole configuration. Names are the YAML's own keys; durations are milliseconds, sizes bytes, defaults filled
 * in; paths are still as written, relative to the configuration file.
 */
export type Config = Immutable<
  Omit<ParsedConfig, 'threads' | 'audit' | 'admin'> & { threads: number; audit: { directory: string }; admin: { socket: string } }
>;
export type ListenerConfig = Config['listeners'][number];
export type HttpsListenerConfig = Extract<ListenerConfig, { protocol: 'https' }>;
export type TcpListenerConfig = Extract<ListenerConfig, { protocol: 'tcp' }>;
/** The listeners that end TLS. */
export type TlsListenerConfig = HttpsListenerConfig | TcpListenerConfig;
export type RedirectListenerConfig = Extract<ListenerConfig, { protocol: 'redirect' }>;
export type SendersConfig = NonNullable<TcpListenerConfig['senders']>;
export type TlsConfig = HttpsListenerConfig['tls'];
export type TlsProfile = TlsConfig['profile'];
export type ClientAuthConfig = HttpsListenerConfig['client_auth'];
export type HstsConfig = HttpsListenerConfig['hsts'];
export type ListenerLimits = HttpsListenerConfig['limits'];
export type MinRate = Exclude<ListenerLimits['min_rate'], false>;
export type RevocationConfig = Config['revocation'];
export type UnavailableConfig = RevocationConfig['unavailable'];
export type RoleConfig = Config['roles'][number];
export type CertificateMatch = RoleConfig['match'];
export type RouteConfig = Config['routes'][number];
export type PatientConfig = NonNullable<RouteConfig['patient']>;
export type ForwardConfig = RouteConfig['forward'];
export type StoreConfig = NonNullable<Config['store']>;
export type TracingConfig = NonNullable<Config['tracing']>;
export type UpstreamConfig = Config['upstreams'][string];
export type EndpointConfig = UpstreamConfig['endpoints'][number];
export type HealthConfig = NonNullable<UpstreamConfig['health']>;
export type BalanceConfig = UpstreamConfig['balance'];

/** Fills in the defaults that depend on other keys or on the machine; `cores` is the number of threads it can run. */
export function completeConfig(parsed: ParsedConfig, cores: number): Config {
  const state = parsed.state.replace(/\/+$/, '') || '/';
  const inState = (entry: string): string => (state === '/' ? `/${entry}` : `${state}/${entry}`);
  return {
    ...parsed,
    threads: parsed.threads ?? Math.max(1, cores),
    audit: { directory: parsed.audit.directory ?? inState('audit') },
    admin: { socket: parsed.admin.socket ?? inState('admin.sock') },
  };
}
