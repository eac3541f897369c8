import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatIssue, inOrder, readConfig, type Issue } from '../config/load.ts';
import { loadSnapshot, type Snapshot } from '../config/snapshot.ts';
import { crlAuthorities, readCrls } from '../revocation/crl-store.ts';
import { endsSoon, endsSoonText } from '../revocation/freshness.ts';
import { readTemporaries, type Temporary } from '../store/temporaries.ts';
import { counted } from './counted.ts';

/** What `wardgate check` is asked to do. */
export interface CheckOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json?: boolean;
  /** Whether commands that tell passphrases are run. */
  readonly runCommands?: boolean;
  /** Milliseconds since the epoch, for warnings about validity; default: the clock. */
  readonly now?: number;
}

/** Where a command prints; `process.stdout` is one. */
export interface Output {
  write(text: string): unknown;
}

/**
 * Reads the configuration and every file it names, binds nothing, and prints one line an issue. Resolves with the exit
 * code: 0 when the configuration is good (warnings included), 1 when it is not.
 */
export async function check(options: CheckOptions, out: Output): Promise<0 | 1> {
  const now = options.now ?? Date.now();
  const result = await loadSnapshot(options.config, { now, lint: true, runCommands: options.runCommands === true });
  const good = result.kind === 'ok';
  const errors = good ? [] : result.issues;
  const warnings = good ? inOrder([...result.warnings, ...await crlWarnings(result.snapshot, now), ...await temporaryWarnings(result.snapshot)]) : [];
  if (options.json === true) {
    const digest = good ? { digest: result.snapshot.digest } : {};
    out.write(`${JSON.stringify({ file: options.config, good, ...digest, errors, warnings })}\n`);
  } else {
    out.write(lines(errors, warnings));
    if (good) out.write(`${options.config}: configuration is good: ${summary(result.snapshot)}\n`);
  }
  return good ? 0 : 1;
}

/** What the gateway would say of the CRL files when it read them, each at the line that names the file. */
export async function crlWarnings(snapshot: Snapshot, now: number): Promise<readonly Issue[]> {
  const { handles, problems } = await readCrls({ files: snapshot.crls, realms: crlAuthorities(snapshot), now });
  const ending = handles.filter((handle) => endsSoon(handle, now)).map((handle) => ({ source: handle.source, detail: endsSoonText(handle.issuer, handle, now) }));
  const found = [...problems, ...ending];
  if (found.length === 0) return [];
  const { place } = readConfig(await readFile(snapshot.file, 'utf8'), snapshot.file);
  return found.map(({ source, detail }) => place({ path: ['revocation', 'crl', 'files', snapshot.config.revocation.crl.files.indexOf(source)], message: detail }));
}

/** A listener's certificate that is there for a few days, at the line that names it. */
async function temporaryWarnings({ file, directory, config, listeners }: Snapshot): Promise<readonly Issue[]> {
  const temporary = new Map(temporariesIn(resolve(directory, config.state)).map((one) => [one.sha256, one]));
  if (temporary.size === 0) return [];
  const { place } = readConfig(await readFile(file, 'utf8'), file);
  return config.listeners.flatMap(({ name }, listener) => (listeners[name]?.certificates ?? []).flatMap(({ certificate }, index) => {
    const found = temporary.get(new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase());
    return found === undefined ? [] : [place({ path: ['listeners', listener, 'tls', 'certificates', index], message: `is a temporary certificate, which ends ${found.not_after}: have a regular one issued (${found.why})` })];
  }));
}

/** Whoever checks a configuration need not be allowed to read the gateway's state. */
function temporariesIn(state: string): readonly Temporary[] {
  try {
    return readTemporaries(state);
  } catch {
    return [];
  }
}

function lines(errors: readonly Issue[], warnings: readonly Issue[]): string {
  const texts = [...errors.map((issue) => formatIssue(issue)), ...warnings.map((issue) => formatIssue(issue, 'warning'))];
  return texts.map((text) => `${text}\n`).join('');
}

function summary({ config, crls, devices }: Snapshot): string {
  const counts: readonly (readonly [number, string])[] = [
    [config.listeners.length, 'listener'], [config.roles.length, 'role'], [config.routes.length, 'route'],
    [Object.keys(config.upstreams).length, 'upstream'], [crls.length, 'CRL'], ...(devices === undefined ? [] : [[devices.length, 'device'] as const]),
  ];
  return counts.map(([count, noun]) => counted(count, noun)).join(', ');
}
