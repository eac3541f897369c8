import { z } from 'zod';
import { filePath, httpsUrl, matching, name, timeout } from '../values.ts';
import { mapping, oneOf, oneOrMore, some, trustFiles } from './shapes.ts';

const ALGORITHMS = ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'PS384', 'RS256', 'RS384'] as const;
export type TokenAlgorithm = (typeof ALGORITHMS)[number];

/** As tokens write them: compared octet by octet. */
const exact = matching('expected text without blanks such as https://auth.hospital.test', /^[!-~]{1,500}$/);
/** RFC 6749 section 3.3. */
const scope = matching('expected a scope such as patient/*.rs', /^[!#-[\]-~]{1,200}$/);

const jwks = mapping({
  url: httpsUrl.describe('Where the issuer publishes its keys.').exactOptional(),
  trust: trustFiles.describe('PEM files of the CA certificates the issuer is verified by; needed with url, the system\'s own are never used.').exactOptional(),
  file: filePath.describe('File with the keys, in place of url; read again when it changes.').exactOptional(),
  refresh: timeout.describe('How often they are fetched: a key that the issuer has taken back verifies no longer than this.').prefault('5m'),
  max_age: timeout.describe('How long after the last successful fetch they are still believed.').prefault('1h'),
  min_interval: timeout.describe('How soon they are fetched again for a token that names a key which is not among them.').prefault('10s'),
  timeout: timeout.describe('How long a fetch may take as a whole.').prefault('3s'),
}).refine(({ url, file }) => (url === undefined) !== (file === undefined), { error: 'expected exactly one of url or file' })
  .meta({ oneOf: [{ required: ['url'] }, { required: ['file'] }] });

/** Issuers of tokens. */
export const tokens = z.record(
  name,
  mapping({
    issuer: exact.describe('Value of iss, to the letter.'),
    audience: oneOrMore(exact, 'expected text without blanks such as https://api.hospital.test/fhir, or a list of such texts').describe('Values of aud, of which the token must name one, to the letter.'),
    jwks: jwks.describe('Its public keys (RFC 7517).'),
    algorithms: some(oneOf(ALGORITHMS), 'expected a list of algorithms such as [ES256, PS256]').describe('Signature algorithms that are taken.').default([...ALGORITHMS]),
    skew: timeout.describe('How far its clock may be off.').prefault('30s'),
    roles: z.record(scope, oneOrMore(name, 'expected the name of a role, or a list of them'), { error: 'expected a mapping of scopes to roles such as { "system/*.rs": analyst }' })
      .describe('Roles that a scope gives beside those of the certificate, on routes that require such a token.').default({}),
  }),
  { error: 'expected a mapping of names to { issuer, audience, jwks }' },
).describe('Issuers of access tokens (JWT) that are bound to client certificates (RFC 8705), by name.');

/** The token that a route requires. */
export const requiredToken = mapping({
  from: name.describe('Name of its issuer in tokens.'),
  scopes: some(scope, 'expected a list of scopes such as [patient/*.rs]').describe('Scopes of which the token must hold one, or one that covers it as SMART on FHIR has it: patient/*.rs covers patient/Observation.r. Absent: any.').exactOptional(),
  forward: z.boolean().describe('Whether the upstream gets the token, too.').default(true),
});
