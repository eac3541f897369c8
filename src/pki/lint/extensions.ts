import { publicKeyKind } from '../algorithms.ts';
import type { Certificate } from '../certificate.ts';
import { PkiError } from '../der.ts';
import { EXTENSION } from '../extensions.ts';
import { isPublic } from './validation.ts';
import type { CertificateUse, Finding, LintRule, Severity } from './rules.ts';

const PURPOSES: Readonly<Record<string, string>> = {
  '1.3.6.1.5.5.7.3.1': 'serverAuth', '1.3.6.1.5.5.7.3.2': 'clientAuth', '1.3.6.1.5.5.7.3.3': 'codeSigning', '1.3.6.1.5.5.7.3.4': 'emailProtection',
  '1.3.6.1.5.5.7.3.8': 'timeStamping', '1.3.6.1.5.5.7.3.9': 'OCSPSigning', '2.5.29.37.0': 'anyExtendedKeyUsage',
};
/** Rights that a key which stands on a server, or in a pocket, should not have besides. */
const FOREIGN: ReadonlySet<string> = new Set(['codeSigning', 'timeStamping', 'OCSPSigning']);

/** What the certificate may be used for (RFC 5280 section 4.2.1.12). */
export function purposeFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  const needed = use === 'server' ? 'serverAuth' : use === 'client' || use === 'upstream' ? 'clientAuth' : undefined;
  const purposes = certificate.extendedKeyUsage?.map((oid) => PURPOSES[oid] ?? oid);
  const remedy = `have it issued anew with ${needed ?? 'the one purpose it has'} alone`;
  if (use === 'ca') return [];
  if (purposes === undefined) return needed === undefined ? [] : [finding('eku-missing', 'warning', `no extended key usage: it may be used for anything; expected ${needed}`, remedy)];
  const any = purposes.includes('anyExtendedKeyUsage');
  if (needed !== undefined && !any && !purposes.includes(needed)) return [finding('eku-wrong', 'error', `extended key usage ${purposes.join(', ')}; expected ${needed}`, remedy)];
  const foreign = purposes.filter((purpose) => FOREIGN.has(purpose) && purposes.length > 1);
  return [
    ...(any ? [finding('eku-broad', 'warning', 'extended key usage anyExtendedKeyUsage: it may be used for anything', remedy)] : []),
    ...(foreign.length > 0 ? [finding('eku-broad', 'warning', `extended key usage ${foreign.join(', ')} beside ${purposes.filter((purpose) => !foreign.includes(purpose)).join(', ') || 'others'}`, remedy)] : []),
    ...(use === 'server' && isPublic(certificate) && purposes.includes('clientAuth') ? [finding('eku-broad', 'note', 'a public server certificate that is a client\'s as well, which browsers\' root programmes are ending in 2026', remedy)] : []),
  ];
}

/** keyUsage, basicConstraints and pathLenConstraint (RFC 5280 sections 4.2.1.3 and 4.2.1.9). */
export function constraintFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  return use === 'ca' ? authorityConstraints(certificate) : leafConstraints(certificate, use);
}

function authorityConstraints(certificate: Certificate): readonly Finding[] {
  const { basicConstraints, keyUsage, selfIssued } = certificate;
  const remedy = 'have the CA certificate issued anew';
  if (basicConstraints?.ca !== true) {
    return [finding('basic-constraints', certificate.version === 3 ? 'error' : 'warning', `${basicConstraints === undefined ? 'no basicConstraints' : 'basicConstraints without cA'}; a CA has cA (RFC 5280 section 4.2.1.9)`, remedy)];
  }
  return [
    ...(isCritical(certificate, EXTENSION.basicConstraints) ? [] : [finding('basic-constraints', 'warning', 'basicConstraints that is not critical; a CA\'s is (RFC 5280 section 4.2.1.9)', remedy)]),
    ...(selfIssued || basicConstraints.pathLen !== undefined ? [] : [finding('path-length', 'note', 'an intermediate CA without pathLenConstraint: it may make further CAs', 'give an issuing CA a pathLenConstraint of 0')]),
    ...(keyUsage === undefined ? [finding('key-usage', 'warning', 'no keyUsage; a CA has keyCertSign (RFC 5280 section 4.2.1.3)', remedy)] : []),
    ...(keyUsage === undefined || keyUsage.has('keyCertSign') ? [] : [finding('key-usage', 'error', `keyUsage ${[...keyUsage].join(', ')}; a CA has keyCertSign (RFC 5280 section 4.2.1.3)`, remedy)]),
    ...(keyUsage === undefined || !keyUsage.has('keyCertSign') || keyUsage.has('cRLSign') ? [] : [finding('key-usage', 'note', 'keyUsage without cRLSign: it cannot sign its own CRLs', remedy)]),
  ];
}

function leafConstraints(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  const { basicConstraints, keyUsage } = certificate;
  const remedy = 'have it issued anew';
  const presented = use !== 'unknown';
  if (basicConstraints?.ca === true) return presented ? [finding('basic-constraints', 'error', 'a CA, presented as a leaf: whoever steals its key makes certificates', 'issue a certificate below it, and keep its key off this machine')] : [];
  return [
    ...(basicConstraints?.pathLen === undefined ? [] : [finding('path-length', 'warning', 'pathLenConstraint without cA, which is not allowed (RFC 5280 section 4.2.1.9)', remedy)]),
    ...(keyUsage?.has('keyCertSign') === true ? [finding('key-usage', 'error', 'keyUsage keyCertSign without cA, which is not allowed (RFC 5280 section 4.2.1.9)', remedy)] : []),
    ...(presented ? signingFindings(certificate, remedy) : []),
  ];
}

function signingFindings({ keyUsage, spki }: Certificate, remedy: string): readonly Finding[] {
  if (keyUsage === undefined) return [finding('key-usage', 'note', 'no keyUsage; expected digitalSignature', remedy)];
  const family = familyOf(spki);
  const signs = keyUsage.has('digitalSignature');
  const enciphers = family === 'ec' && (keyUsage.has('keyEncipherment') || keyUsage.has('dataEncipherment'));
  return [
    ...(signs ? [] : [finding('key-usage', 'error', `keyUsage ${[...keyUsage].join(', ')}; expected digitalSignature, without which TLS 1.3 cannot use it (RFC 8446 section 4.4.2.2)`, remedy)]),
    ...(enciphers ? [finding('key-usage', 'warning', 'keyUsage keyEncipherment or dataEncipherment with an EC key, which is not allowed (RFC 8813 section 3)', remedy)] : []),
  ];
}

function familyOf(spki: Uint8Array): string | undefined {
  try {
    return publicKeyKind(spki).family;
  } catch (error) {
    if (error instanceof PkiError) return undefined;
    throw error;
  }
}

/** Key identifiers (RFC 5280 sections 4.2.1.1 and 4.2.1.2): by them the right one of several issuers of one name is found. */
export function identifierFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  const { authorityKeyIdentifier, subjectKeyIdentifier, selfIssued, version } = certificate;
  if (version !== 3) return [];
  const ca = use === 'ca' || certificate.basicConstraints?.ca === true;
  const remedy = 'have the issuing software write key identifiers';
  return [
    ...(subjectKeyIdentifier !== undefined ? [] : [finding('key-identifier', ca ? 'warning' : 'note', `no subject key identifier, which ${ca ? 'a CA must have' : 'a certificate should have'} (RFC 5280 section 4.2.1.2)`, remedy)]),
    ...(selfIssued || authorityKeyIdentifier?.keyIdentifier !== undefined ? [] : [finding('key-identifier', 'warning', 'no authority key identifier, which only a self-signed certificate may do without (RFC 5280 section 4.2.1.1)', remedy)]),
  ];
}

/** Version, serial number (RFC 5280 section 4.1.2.2) and critical extensions nobody here processes. */
export function formFindings(certificate: Certificate): readonly Finding[] {
  const { version, serial, unknownCriticalExtensions } = certificate;
  const remedy = 'have it issued anew by up-to-date software';
  return [
    ...(version === 3 ? [] : [finding('version', 'warning', `version ${version}; expected 3, which alone has extensions (RFC 5280 section 4.1.2.1)`, remedy)]),
    ...serialFindings(serial, isPublic(certificate), remedy),
    ...(unknownCriticalExtensions.length === 0 ? [] : [finding('critical-unknown', 'error', `critical extensions that are not processed here: ${unknownCriticalExtensions.slice(0, 5).join(', ')}; paths with it are refused (RFC 5280 section 4.2)`, 'have it issued anew without them')]),
  ];
}

const MOST_SERIAL_OCTETS = 20;
const RANDOM_OCTETS = 8;

function serialFindings(serial: string, issuedInPublic: boolean, remedy: string): readonly Finding[] {
  if (serial.startsWith('-')) return [finding('serial', 'error', 'a negative serial number; expected a positive one (RFC 5280 section 4.1.2.2)', remedy)];
  if (/^0*$/.test(serial)) return [finding('serial', 'warning', 'the serial number 0; expected a positive one (RFC 5280 section 4.1.2.2)', remedy)];
  const octets = serial.length / 2;
  if (octets > MOST_SERIAL_OCTETS) return [finding('serial', 'warning', `a serial number of ${octets} octets; expected at most ${MOST_SERIAL_OCTETS} (RFC 5280 section 4.1.2.2)`, remedy)];
  if (octets >= RANDOM_OCTETS) return [];
  return [finding('serial', issuedInPublic ? 'warning' : 'note', `a serial number of ${octets} octets, which can be guessed; expected ${RANDOM_OCTETS} random ones or more (Baseline Requirements section 7.1)`, 'have the CA number at random')];
}

function isCritical({ extensions }: Certificate, oid: string): boolean {
  return extensions.some((extension) => extension.oid === oid && extension.critical);
}

function finding(rule: LintRule, severity: Severity, detail: string, remedy: string): Finding {
  return { rule, severity, detail, remedy };
}
