import { availableParallelism } from 'node:os';
import { formatIssue, type Issue } from './config/issue.ts';
import { loadSnapshot, type Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';

/** The configuration cannot be taken: `issues` names each fault with file, line and column. */
export class ConfigurationError extends Error {
  readonly code = 'configuration_invalid';
  readonly issues: readonly Issue[];

  constructor(issues: readonly Issue[]) {
    super(issues.map((issue) => formatIssue(issue)).join('\n'));
    this.issues = issues;
  }
}

/** Reads a configuration and every file it names. Warnings go to the log; rejects with a ConfigurationError. */
export async function loadConfiguration(file: string, log: Log): Promise<Snapshot> {
  const result = await loadSnapshot(file, { now: Date.now(), cores: availableParallelism(), runCommands: true });
  if (result.kind === 'invalid') throw new ConfigurationError(result.issues);
  warnOf(result.warnings, log);
  return result.snapshot;
}

/** Says what is doubtful. */
export function warnOf(warnings: readonly Issue[], log: Log): void {
  for (const warning of warnings) log.warn({ place: `${warning.file}:${warning.line}` }, formatIssue(warning, 'warning'));
}
