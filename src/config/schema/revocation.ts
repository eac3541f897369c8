import { z } from 'zod';
import { duration, filePath, httpUrl, size, timeout } from '../values.ts';
import { anyNumber, mapping, oneOf, some, unavailable } from './shapes.ts';

export const revocation = mapping({
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
