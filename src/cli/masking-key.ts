import type { Command } from 'commander';
import { destroyMaskingKeys, openMaskingKeys, readMaskingKeys, rotateMaskingKey } from '../audit/masking-key.ts';
import { pseudonymOf } from '../audit/pseudonyms.ts';
import { auditPlaces, noteUse } from './archive.ts';
import type { CommandGround } from './ground.ts';
import { readMasking } from './places.ts';

interface KeyOptions {
  readonly config: string;
  readonly who: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly old?: boolean;
}

/** Prints the ids of the keys that there are, and since when. */
async function showMaskingKeys({ config, json }: KeyOptions, print: (text: string) => void): Promise<number> {
  const keys = readMaskingKeys(auditPlaces(config).state).map(({ id, since }, index, { length }) => ({ id, since, current: index === length - 1 }));
  if (json === true) print(JSON.stringify(keys));
  else print(keys.length === 0 ? 'there is no key yet: it is made when records first have somewhere to go' : keys.map(({ id, since, current }) => `${id} since ${since}${current ? ', current' : ''}`).join('\n'));
  return 0;
}

/** Has new pseudonyms made with a new key. On record before it is done. */
async function rotateKey({ config, who, json, dryRun }: KeyOptions, print: (text: string) => void): Promise<number> {
  const places = auditPlaces(config);
  const before = readMaskingKeys(places.state).at(-1)?.id;
  if (dryRun === true) {
    print(before === undefined ? 'would make the first key' : `would make a new key; pseudonyms of ${before} could still be looked up`);
    return 0;
  }
  await noteUse(places, { who, detail: 'rotates the key of pseudonyms' });
  const { id } = rotateMaskingKey(places.state, Date.now());
  print(json === true ? JSON.stringify({ id, before }) : `pseudonyms are made with ${id} from now on${before === undefined ? '' : `; those of ${before} can be looked up until it is destroyed`}`);
  return 0;
}

/** Destroys keys. On record before it is done. */
async function destroyKeys({ config, who, json, dryRun, old }: KeyOptions, print: (text: string) => void): Promise<number> {
  const places = auditPlaces(config);
  const kept = readMaskingKeys(places.state).map(({ id }) => id);
  const meant = old === true ? kept.slice(0, -1) : kept;
  if (dryRun === true || meant.length === 0) {
    print(meant.length === 0 ? 'there is no key to destroy' : `would destroy ${meant.join(', ')}: nobody could find any more whose the pseudonyms made with ${meant.length === 1 ? 'it' : 'them'} are`);
    return 0;
  }
  await noteUse(places, { who, detail: `destroys keys of pseudonyms: ${meant.join(', ')}` });
  const destroyed = destroyMaskingKeys(places.state, old === true ? 'old' : 'all', Date.now());
  print(json === true ? JSON.stringify({ destroyed }) : `destroyed ${destroyed.join(', ')}: nobody can find any more whose the pseudonyms made with ${destroyed.length === 1 ? 'it' : 'them'} are, unless a copy of the state directory is left somewhere`);
  return 0;
}

/** Prints the pseudonyms that a value has by each key that there is. On record: somebody looks for somebody. */
async function lookUpPseudonym(value: string, { config, who, json }: KeyOptions, print: (text: string) => void): Promise<number> {
  const places = auditPlaces(config);
  await noteUse(places, { who, patient: value, detail: 'looks up pseudonyms' });
  openMaskingKeys(places.state, Date.now);
  const { countries } = readMasking(config);
  const pseudonyms = readMaskingKeys(places.state).map((key) => pseudonymOf(key, value, countries));
  print(json === true ? JSON.stringify(pseudonyms) : pseudonyms.join('\n'));
  return 0;
}

/** Adds `masking-key` to `audit`. */
export function addMaskingKeyCommands(audit: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const who = ['--who <name>', 'on whose behalf', user] as const;
  const keys = audit.command('masking-key').description('the key that pseudonyms of patients and persons are made with, where records leave the audit')
    .addHelpText('after', '\nExamples:\n  wardgate audit masking-key show\n  wardgate audit masking-key rotate\n  wardgate audit masking-key destroy --old');
  keys.command('show').description('ids of the keys that there are')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate audit masking-key show')
    .action(settle((options: KeyOptions) => showMaskingKeys(options, print)));
  keys.command('rotate').description('make pseudonyms with a new key; a running gateway follows within seconds')
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--dry-run', 'say what would be done, and change nothing')
    .addHelpText('after', '\nExample:\n  wardgate audit masking-key rotate')
    .action(settle((options: KeyOptions) => rotateKey(options, print)));
  keys.command('destroy').description('destroy the keys: nobody can find any more whose the pseudonyms made with them are')
    .option(...configOption).option(...jsonOption).option(...who)
    .option('--old', 'all but the current one')
    .option('--dry-run', 'say what would be done, and change nothing')
    .addHelpText('after', '\nExample:\n  wardgate audit masking-key destroy --old --dry-run')
    .action(settle((options: KeyOptions) => destroyKeys(options, print)));
  keys.command('pseudonym').description('what stands for a value, by each key that there is: to look for somebody where the records went')
    .argument('<value>', 'an id, an identity number or a name')
    .option(...configOption).option(...jsonOption).option(...who)
    .addHelpText('after', '\nExample:\n  wardgate audit masking-key pseudonym P-1234')
    .action(settle((value: string, options: KeyOptions) => lookUpPseudonym(value, options, print)));
}
