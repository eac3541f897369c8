import { z } from 'zod';
import { hostPattern, method, name, network, oid, pathPattern, rate, size } from '../values.ts';
import { breakGlass } from './break-glass.ts';
import { encrypt } from './encrypt.ts';
import { maintenance } from './maintenance.ts';
import { patient } from './patient.ts';
import { rates } from './rates.ts';
import { forward, mapping, oneOf, oneOrMore, some, trustFiles, unavailable } from './shapes.ts';
import { requiredToken } from './tokens.ts';

const requestMatch = mapping({
  host: oneOrMore(hostPattern, 'expected a host name such as api.hospital.test or *.hospital.test, or a list of them')
    .describe('Host name, or list of them; *. in front stands for one label. Absent: any host.').exactOptional(),
  path: pathPattern.describe('/a is that path, /a/:id one segment more, /a/* everything below it. Absent: any path.').default('/*'),
  methods: some(method, 'expected a list of methods such as [GET]').describe('Methods. Absent: any but TRACE.').exactOptional(),
});

const routeLimits = mapping({
  rate: oneOrMore(rate, 'expected a rate such as 10/minute, or a list of them').describe('Requests that one certificate may make; the short form of rates with per: certificate.').exactOptional(),
  rates: rates.describe('Further limits on how often the route may be used, counted once a gateway, with store.redis once for all of them. Denied requests add to those per address, too.').default([]),
  body: size.describe('Size of a request body.').exactOptional(),
});

const requirements = mapping({
  trust: trustFiles.describe('PEM files of CA certificates, of which one must be on the path of the client\'s certificate; absent: any that the listener trusts.').exactOptional(),
  policy: some(oid, 'expected a list of certificate policy OIDs').describe('Certificate policies, of which the certificate must carry one.').exactOptional(),
  networks: some(network, 'expected a list of networks such as 10.1.0.0/16').describe('Networks that requests must come from.').exactOptional(),
  second_factor: oneOrMore(oneOf(['totp', 'sms', 'webauthn']), 'expected totp, sms, webauthn or a list of them')
    .describe('Second factor that the session must have shown, or a list of those of which one is enough: totp is a code of an authenticator app, sms one that comes by text message and is typed with the card number, webauthn a security key or passkey.').exactOptional(),
  token: requiredToken.describe('Access token that must come as Authorization: Bearer, and be bound to the client\'s certificate. Absent: none, and what comes is the upstream\'s affair.').exactOptional(),
});

const responses = mapping({
  upgrade_insecure_requests: z.boolean().describe('Whether answers tell browsers to fetch over https what the page names over http (Content-Security-Policy, beside the upstream\'s own).').default(false),
});

export const route = mapping({
  name: name.describe('Name of the route, as it appears in logs, metrics and the audit.'),
  match: requestMatch.describe('Which requests the route is for; the first route that matches decides.'),
  allow: some(name, 'expected a list of at least one role, or public').describe('Roles that may use the route; public needs no certificate.'),
  upstream: name.describe('Name of the upstream that serves it.').exactOptional(),
  webhook: name.describe('Name of the webhook whose events it takes, in place of an upstream.').exactOptional(),
  limits: routeLimits.describe('Limits of the route.').prefault({}),
  unavailable: unavailable.describe('Overrides revocation.unavailable for this route.').exactOptional(),
  require: requirements.describe('What is required beyond the role.').prefault({}),
  patient: patient.describe('Where a request names the patient it concerns, and whom that binds.').exactOptional(),
  break_glass: breakGlass.describe('Who gets through in an emergency although the route would refuse them: for a time, marked, on record, and to be reviewed. Absent: nobody.').exactOptional(),
  suspended: z.array(maintenance, { error: 'expected a list of { hours, zone, reason } or { from, to, reason }' })
    .describe('When the route serves nobody, or not those named: 503, with the time to come again. wardgate suspend does the same at once.').exactOptional(),
  encrypt: encrypt.describe('Answers leave as JWE (application/jose) that only the client\'s own key opens, those of errors included, and are no-store. Absent: they leave as they are, within TLS.').exactOptional(),
  phi: z.boolean().describe('Whether answers carry health data: they are no-store, and audited durably or not sent.').default(false),
  responses: responses.describe('What is added to answers.').prefault({}),
  preflight: oneOf(['deny', 'allow']).describe('allow: CORS preflights, which never carry a certificate, pass to the upstream.').default('deny'),
  forward: forward.describe('Further headers to the upstream; overrides the upstream\'s own setting.').prefault({}),
})
  // What has none is served by the gateway itself.
  .transform(({ upstream = '', ...rest }) => ({ ...rest, upstream }));
