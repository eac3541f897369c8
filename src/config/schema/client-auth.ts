import { z } from 'zod';
import { filePath, frontHeader, hostAndPort, hostName } from '../values.ts';
import { certificateMatch } from './certificate-match.ts';
import { anyNumber, mapping, oneOf, some, trustFiles } from './shapes.ts';

export const clientAuth = mapping({
  mode: oneOf(['required', 'optional'])
    .describe('required: no request is served without a good certificate. optional: each route decides.').default('required'),
  trust: trustFiles.describe('CA certificates (or single pinned certificates) that clients are trusted by: PEM files, directories of such files, or SPIFFE bundles.'),
  intermediates: anyNumber(filePath, 'expected one file of intermediate certificates, or a list of them')
    .describe('PEM files of intermediate CA certificates, or directories of such files, that help to build paths; they are not trusted by themselves.').default([]),
  fetch_intermediates: mapping({
    from: some(hostAndPort, 'expected a list of hosts such as pki.hospital.test')
      .describe('Hosts, with the port where it is not the usual one, that may be asked for the sake of a certificate that nobody vouches for yet.'),
  }).describe('Intermediates that a client does not send are fetched from where its certificate says (AIA); absent: they are not.').exactOptional(),
  names: z.record(
    hostName,
    mapping({
      trust: trustFiles.describe('CA certificates that clients are trusted by under this name: PEM files, directories of such files, or SPIFFE bundles.'),
      intermediates: anyNumber(filePath, 'expected one file of intermediate certificates, or a list of them')
        .describe('Further intermediates for this name.').default([]),
    }),
    { error: 'expected a mapping of host names to { trust: [FILE] }' },
  ).describe('Other CAs for other server names (SNI).').default({}),
  forwarded: mapping({
    header: frontHeader.describe('Request header that carries the client certificate in the form of RFC 9440: Client-Cert, X-Client-Cert, SSL-Client-Cert or X-SSL-Client-Cert, which no client\'s own copy of ever passes. Its chain may stand in the header of that name with -Chain.').default('Client-Cert'),
    by: certificateMatch.describe('Which certificate the front itself must present; the header of anyone else is dropped. Whoever holds one may name any client: match by its own name, and by its CA.'),
  }).describe('A front that ends TLS for us and names its client\'s certificate in a header. Its own certificate stands for nobody here.').exactOptional(),
});
