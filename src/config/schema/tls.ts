import { z } from 'zod';
import { filePath, httpUrl, timeout } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { mapping, oneOf, some } from './shapes.ts';

const LEAST_ROTATE_MS = 60_000;
/** RFC 9325 section 3.4: ticket keys are changed once a week at least. */
const MOST_ROTATE_MS = 7 * 86_400_000;

/** The profiles of src/config/profiles.ts. */
export const profile = oneOf(['bcp195', 'modern', 'ihe-atna', 'dicom', 'device']);

const DEFAULT_STAPLING = { every: 3_600_000, timeout: 5_000 };

const stapling = z.union(
  [
    z.boolean(),
    mapping({
      responder: httpUrl.describe('URL of the responder that is asked first; absent: the one that the certificate names (AIA) alone.').exactOptional(),
      every: timeout.describe('How often it is asked at least; otherwise when half of the life of its answer is over.').prefault('1h'),
      timeout: timeout.describe('How long an answer is waited for.').prefault('5s'),
    }),
  ],
  { error: 'expected true, false or { responder, every, timeout }' },
).transform((value): false | { readonly responder?: string; readonly every: number; readonly timeout: number } => (value === true ? DEFAULT_STAPLING : value));

export const tls = mapping({
  profile: profile
    .describe('Versions, cipher suites, groups and signatures: bcp195 is TLS 1.2 and 1.3 with four strong suites, modern is TLS 1.3 only, ihe-atna and dicom are what these standards ask, device is for little power (docs/profiles.md, wardgate profile).').default('bcp195'),
  certificates: some(
    mapping({
      ...ownPair('the server certificate'),
      validation: oneOf(['dv', 'ov', 'ev']).describe('The least that its CA must have validated, by the policies of the CA/Browser Forum: the domain, the organisation, or extended. `wardgate check` warns of less; absent: of dv.').exactOptional(),
    }).meta({ anyOf: [{ type: 'object', required: ['certificate', 'key'] }, { type: 'object', required: ['pkcs12'] }] }),
    'expected a list of at least one { certificate, key } or { pkcs12 }',
  ).describe('Server certificates, chosen by the name the client asks for and by the key types it supports.'),
  roots: some(filePath, 'expected a list of at least one file')
    .describe('PEM files of the CAs that clients trust: a certificate that does not verify to one of them gives way to another for its name. Absent: each is followed as far as its own file goes.').exactOptional(),
  stapling: stapling.describe('Whether clients that ask for it are shown an OCSP answer for the server certificate, fetched ahead; what a responder says also decides which of several certificates serves (docs/certificates.md).').prefault(true),
  session_resumption: z.boolean().describe('Whether clients may resume TLS sessions; every resumption is admitted again.').default(true),
  session_tickets: mapping({
    secret_file: filePath.describe('File of at least 32 secret bytes from which ticket keys are made, the same on every replica.').exactOptional(),
    rotate: timeout.refine((value) => value >= LEAST_ROTATE_MS && value <= MOST_ROTATE_MS, { error: 'expected a duration from 1m to 7d' })
      .describe('How often ticket keys change, from 1m to 7d, counted from 1970: on all threads and replicas at once. Sessions live as long, and for two hours at most.').prefault('12h'),
  }).describe('Ticket keys; without a secret the gateway makes its own at start.').prefault({}),
});
