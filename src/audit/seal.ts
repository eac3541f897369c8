import { createHash, type Hash, type KeyObject } from 'node:crypto';
import { readSync } from 'node:fs';
import { Found } from './bad-record.ts';
import { isSignedLine, signLine } from './checkpoint.ts';
import type { Evidence, SealedExport } from './evidence.ts';
import { exportPieces } from './export.ts';
import { filterText, type RecordFilter } from './filter.ts';
import type { AuditKey } from './key.ts';

/** The last line of a sealed export: what it is, and the hashes of all before it, signed with the key of the audit. */
export interface Manifest {
  readonly format: 1;
  /** ISO 8601. */
  readonly time: string;
  readonly who: string;
  readonly case: string;
  /** Name of the key. */
  readonly gateway: string;
  /** Empty: everything. */
  readonly filter: Readonly<Record<string, string>>;
  readonly records: number;
  /** In their order in the file. */
  readonly parts: readonly ManifestPart[];
}

export interface ManifestPart {
  readonly part: string;
  readonly octets: number;
  readonly records: number;
  /** SHA-256, base64url. */
  readonly sha256: string;
}

/** Who seals an export, what for. */
export interface SealOrder {
  readonly who: string;
  readonly case: string;
}

/** The octets of a sealed export; returns its manifest. `now` in milliseconds. */
export function* sealExport(evidence: Evidence, filter: RecordFilter, order: SealOrder, key: AuditKey, now: number): Generator<Buffer, Manifest> {
  const parts: ManifestPart[] = [];
  let open: { readonly part: string; readonly hash: Hash; octets: number; records: number } | undefined;
  const finish = (): void => {
    if (open !== undefined) parts.push({ part: open.part, octets: open.octets, records: open.records, sha256: open.hash.digest('base64url') });
  };
  for (const { part, octets, records } of exportPieces(evidence, filter, { now, seal: { case: order.case, who: order.who } })) {
    if (open?.part !== part) {
      finish();
      open = { part, hash: createHash('sha256'), octets: 0, records: 0 };
    }
    open.hash.update(octets);
    open.octets += octets.length;
    open.records += records;
    yield octets;
  }
  finish();
  const manifest: Manifest = {
    format: 1, time: new Date(now).toISOString(), who: order.who, case: order.case, gateway: key.name, filter: filterText(filter),
    records: parts.reduce((sum, { records }) => sum + records, 0), parts,
  };
  yield Buffer.from(`${signLine({ manifest }, key)}\n`);
  return manifest;
}

/** Holds a sealed export against its manifest; what it says in words. Throws a Found. */
export function verifyManifest({ manifest: line, file, octets }: SealedExport, key: KeyObject): string {
  const bad = (kind: 'removed' | 'unsigned' | 'edited' | 'truncated', detail: string): Found => new Found({ file: 'manifest', kind, detail });
  if (line === undefined) throw bad('removed', 'it was sealed, and ends without its manifest');
  if (!isSignedLine(line, key)) throw bad('unsigned', 'not signed with this key');
  const { manifest } = JSON.parse(line) as { readonly manifest: Manifest };
  let at = 0;
  for (const part of manifest.parts) {
    if (at + part.octets > octets) throw bad('truncated', `${part.part} is not there whole`);
    if (sha256Of(file, at, part.octets) !== part.sha256) throw new Found({ file: part.part, kind: 'edited', detail: 'this part of the sealed export is not the one that was sealed' });
    at += part.octets;
  }
  if (at !== octets) throw bad('edited', `${octets - at} octets stand in front of it that were not sealed`);
  return `sealed on ${manifest.time} by ${manifest.who} for case ${JSON.stringify(manifest.case)}: ${manifest.records} records, ${described(manifest.filter)}; every part is the one that was sealed`;
}

function described(filter: Manifest['filter']): string {
  const fields = Object.entries(filter).map(([name, value]) => `${name} ${value}`);
  return fields.length === 0 ? 'everything' : fields.join(', ');
}

function sha256Of(file: number, from: number, octets: number): string {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(1 << 20);
  for (let at = 0; at < octets;) {
    const read = readSync(file, piece, 0, Math.min(piece.length, octets - at), from + at);
    if (read === 0) break;
    hash.update(piece.subarray(0, read));
    at += read;
  }
  return hash.digest('base64url');
}
