import { resolve } from 'node:path';
import { LARGEST_KEY_SET, type TokenKey } from '../pki/jwks.ts';
import { LARGEST_CRL } from './checked-files.ts';
import { readRegularFile } from './files.ts';
import { LARGEST_INVENTORY, readInventory, type InventoryResult } from './inventory.ts';
import { readCrl, readKeys } from './material.ts';
import type { DevicesConfig } from './schema.ts';
import type { Snapshot } from './snapshot.ts';

/** The inventory of a configuration, empty when it names no file of one. */
export async function inventoryOf({ inventory, timezone }: DevicesConfig, bytesOf: (name: string) => Uint8Array): Promise<InventoryResult> {
  return inventory === undefined ? { kind: 'ok', devices: [] } : readInventory(bytesOf(inventory), inventory, timezone);
}

/** Reads the inventory of a snapshot again, and nothing else. */
export async function readInventoryFile({ config: { devices }, directory }: Snapshot): Promise<InventoryResult> {
  if (devices?.inventory === undefined) return { kind: 'ok', devices: [] };
  const content = await readRegularFile(resolve(directory, devices.inventory), devices.inventory, LARGEST_INVENTORY);
  if (content.kind === 'ok') return inventoryOf(devices, () => content.bytes);
  return { kind: 'invalid', issues: [{ file: devices.inventory, line: 1, column: 1, path: 'inventory', message: content.message }] };
}

/** Reads a file of keys of a snapshot again, and nothing else. */
export async function readKeyFile({ directory }: Snapshot, file: string): Promise<{ readonly keys?: readonly TokenKey[]; readonly faults: readonly string[] }> {
  const content = await readRegularFile(resolve(directory, file), file, LARGEST_KEY_SET);
  if (content.kind === 'fault') return { faults: [content.message] };
  const { value, faults } = readKeys(content.bytes, file);
  return value === undefined ? { faults } : { keys: value, faults };
}

export interface CrlFiles {
  readonly crls: Snapshot['crls'];
  readonly faults: readonly { readonly file: string; readonly message: string }[];
}

/** Reads the CRL files of a snapshot again, and nothing else: what is wrong with one file, or elsewhere, must not keep the others' revocations out. */
export async function readCrlFiles(snapshot: Snapshot): Promise<CrlFiles> {
  const read = await Promise.all(snapshot.config.revocation.crl.files.map(async (file) => {
    const content = await readRegularFile(resolve(snapshot.directory, file), file, LARGEST_CRL);
    const { value, faults } = content.kind === 'fault' ? { value: undefined, faults: [content.message] } : readCrl(content.bytes, file);
    return { file, bytes: value, message: faults.join('; ') };
  }));
  return {
    crls: read.flatMap(({ file, bytes }) => (bytes === undefined ? [] : [{ file, bytes }])),
    faults: read.filter(({ bytes }) => bytes === undefined).map(({ file, message }) => ({ file, message })),
  };
}
