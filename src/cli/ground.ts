import type { Command } from 'commander';

/** What the commands of one family share with all the others. */
export interface CommandGround {
  readonly configOption: readonly [string, string, string];
  readonly jsonOption: readonly [string, string];
  /** Who runs the command. */
  readonly user: string;
  readonly print: (text: string) => void;
  readonly settle: (action: (...args: never[]) => Promise<number>) => (...args: unknown[]) => Promise<void>;
}

/** A command about one thing that is named by its id, which somebody says something about, for the record. */
export function notedCommand(command: Command, { configOption, jsonOption }: CommandGround): Command {
  return command
    .argument('<id>', 'the whole id, as list shows it')
    .option(...configOption).option(...jsonOption)
    .requiredOption('--who <name>', 'who does so')
    .requiredOption('--note <text>', 'for the record');
}
