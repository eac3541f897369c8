/** Says what is wrong with how a command was called; the exit status for it. */
export function usage(message: string): number {
  process.stderr.write(`wardgate: ${message}\n`);
  return 2;
}
