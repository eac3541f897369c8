import { formatIssue, type Issue } from '../config/load.ts';
import { loadSnapshot, type Snapshot } from '../config/snapshot.ts';

/** What `wardgate check` is asked to do. */
export interface CheckOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json?: boolean;
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
  const result = await loadSnapshot(options.config, { now: options.now ?? Date.now() });
  const good = result.kind === 'ok';
  const errors = good ? [] : result.issues;
  const warnings = good ? result.warnings : [];
  if (options.json === true) {
    const digest = good ? { digest: result.snapshot.digest } : {};
    out.write(`${JSON.stringify({ file: options.config, good, ...digest, errors, warnings })}\n`);
  } else {
    out.write(lines(errors, warnings));
    if (good) out.write(`${options.config}: configuration is good: ${summary(result.snapshot)}\n`);
  }
  return good ? 0 : 1;
}

function lines(errors: readonly Issue[], warnings: readonly Issue[]): string {
  const texts = [...errors.map((issue) => formatIssue(issue)), ...warnings.map((issue) => formatIssue(issue, 'warning'))];
  return texts.map((text) => `${text}\n`).join('');
}

function summary({ config, crls }: Snapshot): string {
  const counts: readonly (readonly [number, string])[] = [
    [config.listeners.length, 'listener'], [config.roles.length, 'role'], [config.routes.length, 'route'],
    [Object.keys(config.upstreams).length, 'upstream'], [crls.length, 'CRL'],
  ];
  return counts.map(([count, noun]) => `${count} ${noun}${count === 1 ? '' : 's'}`).join(', ');
}
