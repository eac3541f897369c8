import type { Identity } from '../identity/roles.ts';
import type { Teller, ToldScopes } from '../identity/told-scopes.ts';
import type { Certificate } from '../pki/certificate.ts';
import { prepareText } from '../pki/preparation.ts';
import { fingerprintsOf } from '../pki/twin.ts';
import { denyKey, isDenied, type DenyKey, type DenyTable } from '../store/deny-table.ts';

interface DenyView {
  readonly deny: DenyTable;
  readonly scopes: ToldScopes;
}

/**
 * What is denied of a client beside the certificates of its path: its id, to everybody or to those whom the system that told so tells of, and its own
 * certificate as a device's. `identities` are the same client's, with the roles that it may be judged by.
 */
export function deniedClient({ deny, scopes }: DenyView, leaf: Certificate, identities: readonly Identity[]): string | undefined {
  const id = identities[0]?.id ?? '';
  const text = prepareText(id);
  const concerns = (teller: Teller): boolean => identities.some(scopes[teller]);
  const told = (teller: Teller): boolean => isDenied(deny, denyKey(`departed-${teller}`, text)) && concerns(teller);
  if (isDenied(deny, denyKey('identity', text)) || isDenied(deny, denyKey('departed', text)) || told('hr') || told('cmdb')) return `the id ${id} is on the deny list`;
  if (!concerns('cmdb') || !keysOf(deviceKeysByCertificate, leaf, deviceDenyKeys).some((key) => isDenied(deny, key))) return undefined;
  return `the certificate with serial ${leaf.serial} is that of a device which was scrapped`;
}

const deviceKeysByCertificate = new WeakMap<Certificate, readonly DenyKey[]>();
const keysByCertificate = new WeakMap<Certificate, readonly DenyKey[]>();

/** The first certificate of a path that is on the deny list; every one counts, the anchor included. */
export function deniedCertificate(deny: DenyTable, path: readonly Certificate[]): Certificate | undefined {
  return path.find((certificate) => keysOf(keysByCertificate, certificate, certificateDenyKeys).some((key) => isDenied(deny, key)));
}

function keysOf(known: WeakMap<Certificate, readonly DenyKey[]>, certificate: Certificate, make: (certificate: Certificate) => readonly DenyKey[]): readonly DenyKey[] {
  let keys = known.get(certificate);
  if (keys === undefined) {
    keys = make(certificate);
    known.set(certificate, keys);
  }
  return keys;
}

/** The keys under which a certificate is denied as that of a device that was scrapped. */
function deviceDenyKeys(certificate: Certificate): readonly DenyKey[] {
  return [
    ...fingerprintsOf(certificate).map((sha256) => denyKey('fingerprint-cmdb', sha256)), denyKey('serial-cmdb', `${certificate.serial} ${certificate.issuer.normalized}`), denyKey('key-cmdb', certificate.spkiSha256),
  ];
}

/** The keys under which a certificate can be denied: itself, in either form that its holder can give it, its serial and issuer, its key, its issuer. */
function certificateDenyKeys(certificate: Certificate): readonly DenyKey[] {
  const issuer = certificate.issuer.normalized;
  return [
    ...fingerprintsOf(certificate).map((sha256) => denyKey('fingerprint', sha256)),
    denyKey('serial', `${certificate.serial} ${issuer}`),
    denyKey('key', certificate.spkiSha256),
    denyKey('issuer', issuer),
  ];
}
