import type { Snapshot } from '../config/snapshot.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { formatName } from '../pki/name.ts';
import { pemBlocks } from '../pki/pem.ts';

/** A certificate of the gateway's own, or one that it trusts. */
export interface HeldCertificate {
  /** What it is used for, for people. */
  readonly use: string;
  readonly kind: 'server' | 'intermediate' | 'client' | 'ca';
  /** What uses it: a listener, an upstream, a sink, by name. */
  readonly owner: string;
  readonly subject: string;
  /** Lower-case hex, both. */
  readonly serial: string;
  readonly sha256: string;
  /** ms since the epoch */
  readonly notBefore: number;
  readonly notAfter: number;
  /** The names that a listener's own is for. */
  readonly names?: readonly string[];
}

const known = new WeakMap<Snapshot, readonly HeldCertificate[]>();

/** Every certificate that a configuration names, the first to end first: the gateway's own, and those it trusts. */
export function heldCertificates(snapshot: Snapshot): readonly HeldCertificate[] {
  const before = known.get(snapshot);
  if (before !== undefined) return before;
  const held = listOf(snapshot).sort((left, right) => left.notAfter - right.notAfter);
  known.set(snapshot, held);
  return held;
}

function listOf({ listeners, upstreams, authorities, sinks, alarmChannels, anchor, store, tracing, secondFactor, tokens }: Snapshot): HeldCertificate[] {
  return [
    ...Object.entries(listeners).flatMap(([name, { certificates, realms }]) => [
      ...certificates.map(({ certificate, names }) => ({ ...one('server', `listener ${name}`, `listener ${name}`, leafOf(certificate)), names })),
      ...certificates.flatMap(({ certificate }) => above(`listener ${name}`, certificate)),
      ...realms.flatMap((realm) => realm.intermediates.map((der) => one('intermediate', `listener ${name}`, `intermediate of clients of listener ${name}`, der))),
      ...realms.flatMap((realm) => realm.anchors.map((der) => one('ca', `listener ${name}`, `clients' CA of listener ${name}${realm.name === '' ? '' : ` for ${realm.name}`}`, der))),
    ]),
    ...Object.entries(upstreams).flatMap(([name, material]) => peer(`upstream ${name}`, material)),
    ...Object.entries(sinks).flatMap(([name, material]) => peer(`sink ${name}`, material)),
    ...Object.entries(alarmChannels).flatMap(([name, material]) => peer(`alarm channel ${name}`, material)),
    ...peer('audit.anchor', anchor), ...peer('store', store), ...peer('tracing', tracing), ...peer('second_factor.sms', secondFactor?.sms),
    ...Object.entries(tokens).flatMap(([name, source]) => (source.kind === 'url' ? peer(`tokens ${name}`, source) : [])),
    ...Object.entries(authorities).flatMap(([file, ders]) => ders.map((der) => one('ca', file, `CA of ${file}`, der))),
  ];
}

/** What the gateway shows to another server, and what it verifies that by; PEM. */
function peer(owner: string, material: { readonly trust?: string; readonly certificate?: string } | undefined): HeldCertificate[] {
  const { trust, certificate } = material ?? {};
  return [
    ...(certificate === undefined ? [] : [one('client', owner, `client certificate for ${owner}`, leafOf(certificate)), ...above(owner, certificate)]),
    ...(trust === undefined ? [] : certificatesOf(trust).map((der) => one('ca', owner, `CA of ${owner}`, der))),
  ];
}

/** What a chain of the gateway's own has above its leaf. */
function above(owner: string, chain: string): HeldCertificate[] {
  return certificatesOf(chain).slice(1).map((der) => one('intermediate', owner, `intermediate of ${owner}`, der));
}

function one(kind: HeldCertificate['kind'], owner: string, use: string, der: Uint8Array): HeldCertificate {
  const { subject, serial, sha256, notBefore, notAfter } = parseCertificate(der);
  return { use, kind, owner, subject: formatName(subject), serial, sha256, notBefore, notAfter };
}

function leafOf(pem: string): Uint8Array {
  return certificatesOf(pem)[0] as Uint8Array;
}

function certificatesOf(pem: string): readonly Uint8Array[] {
  return pemBlocks(pem, 'CERTIFICATE').map(({ der }) => der);
}
