import { Argument } from 'commander';

/** A command was called in a way that cannot be meant: what is wrong with it, for whoever typed it. */
export class WrongUsage extends Error {
  readonly code = 'wrong_usage';
}

/** Says what is wrong with how a command was called; the exit status for it. */
export function usage(message: string): number {
  process.stderr.write(`wardgate: ${message}\n`);
  return 2;
}

/** An argument that is one of a few words: help and completion list them, and the command itself says what is wrong with another. */
export function oneOf(name: string, about: string, words: readonly string[]): Argument {
  return Object.assign(new Argument(name, about), { argChoices: [...words] });
}
