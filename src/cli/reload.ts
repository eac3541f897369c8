import type { Command } from 'commander';
import { callGateway, why } from './call.ts';
import type { CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';

interface ReloadOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly certificates?: true;
  readonly who: string;
  readonly reason?: string;
}

/** Adds `reload` to the program. */
export function addReloadCommand(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  program.command('reload').description('have the running gateway read its configuration again')
    .option(...configOption).option(...jsonOption)
    .option('--certificates', 'only the certificates, keys, CAs and secrets that the configuration in force names, and not its text')
    .option('--reason <text>', 'why, for the record')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExamples:\n  wardgate reload -c /etc/wardgate/wardgate.yaml\n  wardgate reload --certificates')
    .action(settle((options: ReloadOptions) => reload(options, print)));
}

/** `wardgate reload`: exit 1, with the issues, when the running gateway did not take the configuration. */
async function reload(options: ReloadOptions, print: (text: string) => void): Promise<number> {
  const answer = await callGateway(readPlaces(options.config).socket, 'POST', options.certificates === true ? '/v1/certificates/reload' : '/v1/reload', { who: options.who, ...why(options) });
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  const { changed } = answer as { readonly changed?: readonly string[] };
  print(options.json === true ? JSON.stringify(answer) : changed === undefined ? 'reloaded' : changed.length === 0 ? 'nothing has changed' : `read again: ${changed.join(', ')}`);
  return 0;
}
