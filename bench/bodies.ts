import { randomFillSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const MIB = 1 << 20;

/** Large answers of the backend, by the name they have there. */
export type BodySize = '1m' | '64m';

/** How many MiB each has. */
export const BODY_MIB: Readonly<Record<BodySize, number>> = { '1m': 1, '64m': 64 };

/** Writes them into `directory`: random octets, so that no piece in another's place goes unnoticed. */
export async function writeBodies(directory: string): Promise<string> {
  await mkdir(directory);
  for (const [name, mib] of Object.entries(BODY_MIB)) await writeFile(join(directory, name), randomFillSync(Buffer.allocUnsafe(mib * MIB)));
  return directory;
}

export function bodyFile(directory: string, size: BodySize): string {
  return join(directory, size);
}

/** Path of its request. */
export function bodyPath(size: BodySize): string {
  return `/bodies/${size}`;
}
