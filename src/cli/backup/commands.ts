import type { Command } from 'commander';
import type { CommandGround } from '../ground.ts';
import { create, type CreateOptions } from './create.ts';
import { inspect, newKey, showKey } from './keys.ts';
import { restore, type RestoreOptions } from './restore.ts';
import { verify, type VerifyOptions } from './verify.ts';

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...before ?? [], value];
}

/** Adds `backup` to the program. */
export function addBackupCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const who = ['--who <name>', 'on whose behalf', user] as const;
  const passphrase = (command: Command): Command => command
    .option('--passphrase-file <file>', 'where a passphrase is; again for each further one', collect)
    .option('--passphrase-command <command>', 'what prints a passphrase; again for each further one', collect);
  const opened = (command: Command): Command => passphrase(command).option('--with <key>', 'the private key of a holder; again for each', collect);
  const backup = program.command('backup').description('configuration, certificates, keys and state in one encrypted file, and back')
    .addHelpText('after', '\nExamples:\n  wardgate backup create --out /mnt/safe/wardgate.wgb\n  wardgate backup create --directory /mnt/safe --to alice.pub --to bob.pub --need 2\n  wardgate backup verify /mnt/safe/wardgate.wgb\n  wardgate backup restore /mnt/safe/wardgate.wgb --dry-run');

  passphrase(backup.command('create').description('make one, beside a running gateway too; locked with a passphrase, or to public keys of which several are needed'))
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--out <file>', 'the backup; never written over another one')
    .option('--directory <dir>', 'where to put it, under a name with the host and the time')
    .option('--to <key>', 'a public key that wardgate backup keys new wrote; again for each holder', collect)
    .option('--need <number>', 'how many holders open it together (default: all of them)')
    .option('--also <dir>', 'a directory elsewhere that belongs to it, such as that of a CA; again for each', collect)
    .option('--audit', 'with the segments of the audit; else its keys and checkpoints alone')
    .option('--dry-run', 'list what would go into it, and make nothing')
    .addHelpText('after', '\nExamples:\n  wardgate backup create --out /mnt/safe/wardgate.wgb\n  wardgate backup create --directory /mnt/safe --passphrase-file /etc/wardgate/backup.pass\n  wardgate backup create --directory /mnt/safe --to alice.pub --to bob.pub --to carol.pub --need 2 --audit')
    .action(settle((options: CreateOptions) => create(options, print)));

  opened(backup.command('verify').description('the restore test: restores into a directory of its own, checks what came out, and leaves nothing'))
    .argument('<backup>', 'the file')
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--latest', 'take the newest backup (*.wgb) of a directory')
    .option('--in <dir>', 'where to unpack it meanwhile: keys lie there for a moment (default: the directory for temporary files)')
    .addHelpText('after', '\nExamples:\n  wardgate backup verify /mnt/safe/wardgate.wgb\n  wardgate backup verify --latest /mnt/safe --in /dev/shm --with alice.key --with bob.key\n\nExit status 0: it restores, in the time that is printed; 1: it does not.')
    .action(settle((path: string, options: VerifyOptions) => verify(path, options, print)));

  opened(backup.command('restore').description('put everything back where it was: all of it or nothing, and never under a running gateway'))
    .argument('<backup>', 'the file')
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--force', 'over what is there; what is replaced is kept beside')
    .option('--root <dir>', 'below this directory, in place of the root of the file system')
    .option('--sha256 <hex>', 'refuse any other backup than the one of this digest; demanded of one that was made to keys')
    .addHelpText('after', '\nExamples:\n  wardgate backup restore /mnt/safe/wardgate.wgb --dry-run\n  wardgate backup restore /mnt/safe/wardgate.wgb\n  wardgate backup restore /mnt/safe/wardgate.wgb --root /mnt/new-disk --with alice.key --with bob.key\n\nExit status 0: restored, in the time that is printed; 1: nothing was changed.')
    .action(settle((path: string, options: RestoreOptions) => restore(path, options, print)));

  opened(backup.command('inspect').description('when it was made and what opens it; with --list what is in it'))
    .argument('<backup>', 'the file')
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--list', 'open it and list what is in it')
    .addHelpText('after', '\nExample:\n  wardgate backup inspect /mnt/safe/wardgate.wgb --list')
    .action(settle((path: string, options: never) => inspect(path, options, print)));

  const keys = backup.command('keys').description('keys of holders: several of them open what was made to them')
    .addHelpText('after', '\nExamples:\n  wardgate backup keys new alice\n  wardgate backup keys show alice.pub');
  passphrase(keys.command('new').description('make one: PREFIX.pub to hand out, PREFIX.key encrypted with a passphrase'))
    .argument('<prefix>', 'where to')
    .option(...jsonOption)
    .option('--name <name>', 'whose (default: the last part of the prefix)')
    .addHelpText('after', "\nExample:\n  wardgate backup keys new /media/stick/alice --name 'Alice Chen'")
    .action(settle((prefix: string, options: never) => newKey(prefix, options, print)));
  keys.command('show').description('whose key a file is')
    .argument('<file>', 'a public or a private key')
    .option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate backup keys show alice.pub')
    .action(settle((file: string, options: never) => showKey(file, options, print)));
}
