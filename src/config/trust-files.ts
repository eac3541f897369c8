import { resolve } from 'node:path';
import type { Certificate } from '../pki/certificate.ts';
import { looksLikeBundle, readSpiffeBundle } from '../pki/spiffe-bundle.ts';
import type { EntryContent } from './files.ts';
import { show } from './issue.ts';
import { encodePem, type Findings } from './material.ts';
import type { Snapshot } from './snapshot.ts';

/** What a SPIFFE bundle says of itself. Structured-cloneable. */
export interface BundleFacts {
  /** In decimal. */
  readonly sequence?: string;
  /** How often it should be looked at again, in ms. */
  readonly refresh?: number;
}

/** What an entry of `trust` holds: a file, a directory of files, or a SPIFFE bundle. */
export interface TrustContent {
  readonly certificates: readonly Certificate[];
  readonly bundle?: BundleFacts;
}

type Readable = Exclude<EntryContent, { readonly kind: 'fault' }>;

/** Reads an entry of `trust`; `read` reads a file of certificates in PEM. All of it or nothing: of half a directory nobody knows whom it leaves out. */
export function readTrustContent(content: Readable, name: string, read: (bytes: Uint8Array, name: string) => Findings<readonly Certificate[]>): Findings<TrustContent> {
  if (content.kind === 'ok') return looksLikeBundle(content.bytes) ? readBundle(content.bytes, name, read) : plain([read(content.bytes, name)]);
  return plain(content.files.map((file) => read(file.bytes, `${name}/${file.name}`)));
}

function readBundle(bytes: Uint8Array, name: string, read: (bytes: Uint8Array, name: string) => Findings<readonly Certificate[]>): Findings<TrustContent> {
  const bundle = readSpiffeBundle(bytes);
  if (bundle.kind === 'fault') return { faults: [`${show(name)}: ${bundle.detail}`], warnings: [] };
  const { sequence, refresh } = bundle;
  const found = plain([read(Buffer.from(bundle.authorities.map(encodePem).join('')), name)]);
  const facts = { ...(sequence === undefined ? {} : { sequence }), ...(refresh === undefined ? {} : { refresh }) };
  return found.value === undefined ? found : { ...found, value: { ...found.value, bundle: facts } };
}

function plain(all: readonly Findings<readonly Certificate[]>[]): Findings<TrustContent> {
  const faults = all.flatMap((one) => one.faults);
  const warnings = all.flatMap((one) => one.warnings);
  return faults.length > 0 ? { faults, warnings: [] } : { value: { certificates: all.flatMap(({ value = [] }) => value) }, faults, warnings };
}

/**
 * SPIFFE bundles that are older than what is in force, each in words: an old one may trust a CA again that was taken back. One that has lost its number
 * cannot be told from an old one.
 */
export function olderBundles(before: Pick<Snapshot, 'bundles' | 'directory'>, after: Pick<Snapshot, 'bundles' | 'directory'>): readonly string[] {
  const held = new Map(Object.entries(before.bundles).map(([name, facts]) => [resolve(before.directory, name), facts]));
  return Object.entries(after.bundles).flatMap(([name, { sequence }]) => {
    const known = held.get(resolve(after.directory, name))?.sequence;
    if (known === undefined || (sequence !== undefined && BigInt(sequence) >= BigInt(known))) return [];
    return [`${show(name)}: spiffe_sequence ${sequence ?? 'is missing'}, and ${known} is in force: an older bundle is not taken`];
  });
}
