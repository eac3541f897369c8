import type { Certificate } from './certificate.ts';
import { prepareText } from './preparation.ts';

const HARDWARE_MODULE_NAME = '1.3.6.1.5.5.7.8.4';
const PERMANENT_IDENTIFIER = '1.3.6.1.5.5.7.8.3';

/**
 * A hardware serial number in the one form that it is compared in: prepared text where its octets are text, `hex:` and lower-case hex
 * where they are not. Issuers put both into certificates.
 */
export function hardwareName(octets: Uint8Array): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(octets);
    if (/^[\p{L}\p{N}\p{P}\p{S} ]+$/u.test(text) && text.trim() !== '') return prepareText(text);
  } catch {
    // Octets that are no text.
  }
  return `hex:${Buffer.from(octets).toString('hex')}`;
}

/** Where a certificate may name the hardware that its key belongs to. */
export interface NamedHardware {
  /** hardwareModuleName (RFC 4108 section 5). */
  readonly modules: readonly string[];
  /** hardwareModuleName; without one permanentIdentifier (RFC 4043), without that the subject's serialNumber, as IEEE 802.1AR has it. */
  readonly device: readonly string[];
}

const known = new WeakMap<Certificate, NamedHardware>();

/** The hardware that a certificate names. A name in a certificate is its issuer's word, and no attestation of the key. */
export function namedHardware(certificate: Certificate): NamedHardware {
  let named = known.get(certificate);
  if (named === undefined) {
    named = readNamed(certificate);
    known.set(certificate, named);
  }
  return named;
}

function readNamed({ subject, subjectAltNames }: Certificate): NamedHardware {
  const others = (oid: string): readonly string[] => subjectAltNames.flatMap((name) => (name.kind === 'other' && name.oid === oid && name.text !== undefined ? [name.text] : []));
  const modules = others(HARDWARE_MODULE_NAME).map((hex) => hardwareName(Buffer.from(hex, 'hex')));
  if (modules.length > 0) return { modules, device: modules };
  const permanent = others(PERMANENT_IDENTIFIER);
  const serials = subject.rdns.flat().filter(({ type }) => type === 'serialNumber').map(({ value }) => value);
  return { modules, device: (permanent.length > 0 ? permanent : serials).map((text) => hardwareName(Buffer.from(text))) };
}
