import { parseCertificate } from '../../pki/certificate.ts';
import { formatName } from '../../pki/name.ts';
import { pemBlocks } from '../../pki/pem.ts';
import type { Snapshot } from '../../config/snapshot.ts';
import type { HeldCertificate } from './standing.ts';

/** Every certificate that a configuration names: the gateway's own, and those it trusts. */
export function heldCertificates({ listeners, upstreams, authorities }: Snapshot): readonly HeldCertificate[] {
  const held = [
    ...Object.entries(listeners).flatMap(([name, { certificates, realms }]) => [
      ...certificates.map(({ certificate }) => one(`listener ${name}`, leafOf(certificate))),
      ...realms.flatMap((realm) => realm.anchors.map((der) => one(`clients' CA of listener ${name}${realm.name === '' ? '' : ` for ${realm.name}`}`, der))),
    ]),
    ...Object.entries(upstreams).flatMap(([name, { certificate, trust }]) => [
      ...(certificate === undefined ? [] : [one(`client certificate for upstream ${name}`, leafOf(certificate))]),
      ...certificatesOf(trust).map((der) => one(`CA of upstream ${name}`, der)),
    ]),
    ...Object.entries(authorities).flatMap(([file, ders]) => ders.map((der) => one(`CA of ${file}`, der))),
  ];
  return held.sort((left, right) => left.notAfter - right.notAfter);
}

function one(use: string, der: Uint8Array): HeldCertificate {
  const { subject, notAfter } = parseCertificate(der);
  return { use, subject: formatName(subject), notAfter };
}

function leafOf(pem: string): Uint8Array {
  return certificatesOf(pem)[0] as Uint8Array;
}

function certificatesOf(pem: string): readonly Uint8Array[] {
  return pemBlocks(pem, 'CERTIFICATE').map(({ der }) => der);
}
