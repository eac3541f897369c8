import { z } from 'zod';
import { addressPattern, hexPattern, keyAlgorithm, nameAttribute, oid, spiffePattern, uriPattern } from '../values.ts';
import { mapping, oneOrMore, patterns, some, trustFiles } from './shapes.ts';

const nameMatch = z.record(nameAttribute, patterns, { error: 'expected a mapping of name attributes such as { OU: Doctors }' })
  .refine((value) => Object.keys(value).length > 0, { error: 'expected at least one name attribute such as { OU: Doctors }' });

const sanMatch = mapping({
  dns: patterns.describe('Pattern for a dNSName, or a list of patterns of which one must match.').exactOptional(),
  email: patterns.describe('Patterns for a mailbox: rfc822Name, or SmtpUTF8Mailbox (RFC 9598).').exactOptional(),
  uri: oneOrMore(uriPattern, 'expected a URI, in which * stands for anything, or a list of such URIs')
    .describe('Patterns for a uniformResourceIdentifier. SPIFFE ids are none of them.').exactOptional(),
  spiffe: oneOrMore(spiffePattern, 'expected a SPIFFE id such as spiffe://hospital.test/ward/*, or a list of them')
    .describe('Patterns for the path of a SPIFFE id in a trust domain of trust_domains; the certificate must carry no other URI, and a CA that vouches for that domain must be on its path.').exactOptional(),
  ip: oneOrMore(addressPattern, 'expected an IP address, in which * stands for anything, or a list of them').describe('Patterns for an iPAddress, as text.').exactOptional(),
  upn: patterns.describe('Patterns for a user principal name (otherName 1.3.6.1.4.1.311.20.2.3).').exactOptional(),
  registered_id: oneOrMore(oid, 'expected an object identifier, or a list of them').describe('registeredIDs, of which one must be there.').exactOptional(),
  directory: nameMatch.describe('Attributes of a directoryName; one name must match them all.').exactOptional(),
  hardware_module: mapping({
    type: oid.describe('Hardware type, by which its maker tells its products apart. Absent: any.').exactOptional(),
    serial: oneOrMore(hexPattern, 'expected hexadecimal digits, in which * stands for anything, or a list of such texts').describe('Patterns for the serial number, in hexadecimal.'),
  }).describe('A hardwareModuleName (RFC 4108).').exactOptional(),
  permanent_identifier: mapping({
    assigner: oid.describe('Who assigned it. Absent: whoever.').exactOptional(),
    value: patterns.describe('Patterns for its value; case counts.'),
  }).describe('A permanentIdentifier (RFC 4043).').exactOptional(),
  other: z.record(oid, patterns, { error: 'expected a mapping of object identifiers to patterns' })
    .describe('Patterns for the text of an otherName, by the object identifier of its type.').exactOptional(),
}).refine((value) => Object.keys(value).length > 0, {
  error: 'expected at least one of dns, email, uri, spiffe, ip, upn, registered_id, directory, hardware_module, permanent_identifier or other',
});

/** What a certificate must carry. */
export const certificateMatch = mapping({
  subject: nameMatch.describe('Attributes of the subject, each a pattern or a list of patterns; every attribute named must match.').exactOptional(),
  issuer: nameMatch.describe('Attributes of a CA on the certificate\'s path, in the same form.').exactOptional(),
  trust: trustFiles.describe('PEM files of CA certificates, of which one must be on the certificate\'s path: the CA itself, not what it calls itself.').exactOptional(),
  san: sanMatch.describe('Subject alternative names; every kind that is named must match.').exactOptional(),
  policy: some(oid, 'expected a list of certificate policy OIDs').describe('Certificate policies, of which one must hold on the whole path.').exactOptional(),
  eku: some(oid, 'expected a list of extended key usage OIDs').describe('Extended key usages, of which the certificate must carry one.').exactOptional(),
  key: some(keyAlgorithm, 'expected a list of key algorithms such as [ec-p256, rsa-3072]')
    .describe('Key algorithms, of which the certificate\'s key must be one: ec-p256, ec-p384, ec-p521, ed25519, ed448, sm2, or rsa- and the least number of bits.').exactOptional(),
}).refine((value) => Object.keys(value).length > 0, {
  error: 'expected at least one of subject, issuer, trust, san, policy, eku or key: a match of nothing would match everyone',
});
