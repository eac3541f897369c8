/** A command was called in a way that cannot be meant: what is wrong with it, for whoever typed it. */
export class WrongUsage extends Error {
  readonly code = 'wrong_usage';
}

/** Says what is wrong with how a command was called; the exit status for it. */
export function usage(message: string): number {
  process.stderr.write(`wardgate: ${message}\n`);
  return 2;
}
