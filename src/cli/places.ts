import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ConfigurationError } from '../configuration.ts';
import { parseConfig } from '../config/load.ts';
import type { MaskingConfig } from '../config/schema.ts';

export interface Places {
  readonly state: string;
  readonly socket: string;
}

/** Where a configuration keeps its state and its admin socket, without reading the other files it names. */
export function readPlaces(file: string): Places {
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  const directory = dirname(resolve(file));
  return { state: resolve(directory, parsed.config.state), socket: resolve(directory, parsed.config.admin.socket) };
}

/** How a configuration has records masked. */
export function readMasking(file: string): MaskingConfig {
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  return parsed.config.audit.masking;
}
