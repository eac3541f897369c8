import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asOwnerOf } from './as-owner.ts';
import { writeWhole } from './whole-file.ts';

/*
 * Small notes in a state directory, a file each, that commands write beside a running gateway: whole or not at all, the last one counts.
 */

/** What a note says; undefined where there is none. What is no JSON was never written by us, and counts as none. */
export function readNoteFile(file: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Durable when it returns; `name` is relative to the state directory. */
export function writeNoteFile(state: string, name: string, value: object): void {
  writeStateFile(state, name, `${JSON.stringify(value)}\n`);
}

/** The same for any text. What root writes for the gateway is the gateway's to read. */
export function writeStateFile(state: string, name: string, text: string): void {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  asOwnerOf(state, () => {
    const file = join(state, name);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeWhole(file, text);
  });
}
