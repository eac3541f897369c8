import { existsSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { planRestore, type Plan, type Step } from '../../backup/plan.ts';
import { restore as carryOut, type Restored } from '../../backup/restore.ts';
import { survey, type Survey } from '../../backup/survey.ts';
import { printable } from '../../config/issue.ts';
import { callGateway } from '../call.ts';
import { counted } from '../counted.ts';
import { close, onRecord, openFile, placesOf, timeText, unlocked, type OpenOptions } from './ground.ts';

export interface RestoreOptions extends OpenOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly root?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly sha256?: string;
  readonly who: string;
}

/**
 * `wardgate backup restore`: all of it or nothing. Exit 1, and nothing has changed, when a gateway runs there, or when something would be replaced and --force
 * was not given.
 */
export async function restore(path: string, options: RestoreOptions, print: (text: string) => void): Promise<number> {
  const began = performance.now();
  const file = openFile(path);
  try {
    if (options.sha256 !== undefined && options.sha256.toLowerCase() !== file.sha256) throw new Error(`${path}: its SHA-256 is ${file.sha256}, another than was expected`);
    const backup = await unlocked(file, path, options);
    const unlockedAt = performance.now();
    const root = options.root === undefined ? '' : resolve(options.root);
    // To its end before anything is written: what was changed anywhere is found here.
    const found = survey(backup.chunks());
    if (root !== '' && options.dryRun !== true) mkdirSync(root, { recursive: true, mode: 0o700 });
    if (root !== '' && !existsSync(root)) throw new Error(`${root}: no such directory`);
    const plan = planRestore(found, root, stampOf(new Date()));
    const running = await isRunning(plan);
    if (running && options.dryRun !== true) throw new Error(`a gateway runs on ${plan.state}: stop it first; nothing was changed`);
    const touched = plan.steps.filter(({ kind }) => kind === 'replace' || kind === 'merge' || kind === 'away');
    if (options.dryRun === true || (touched.length > 0 && options.force !== true)) {
      print(options.json === true ? JSON.stringify({ restored: false, running, made: found.manifest.made, steps: plan.steps.map(({ kind, target }) => ({ kind, target })) }) : planText(found, plan, { refused: options.dryRun !== true, running }));
      return options.dryRun === true ? 0 : 1;
    }
    // A backup to public keys is nobody's in particular: it may hold any file of the system, and root would create it.
    if (root === '' && options.sha256 === undefined && backup.header.lock.kind === 'holders') {
      throw new Error(`${path}: made to public keys, as anybody could have made it: expected --sha256 with what wardgate backup create printed and put on record; this one has ${file.sha256}; nothing was changed`);
    }
    const done = carryOut(backup, plan);
    const ms = Math.round(performance.now() - began);
    const detail = `restored the backup of ${found.manifest.made} with SHA-256 ${file.sha256}${root === '' ? '' : ` below ${root}`}`;
    // What was taken out elsewhere is on record where the command was run.
    const recorded = await onRecord(placesOf(root === '' ? plan.configuration : options.config), options.who, detail);
    const counts = { files: plan.steps.filter((step) => 'staged' in step).length, same: plan.steps.filter(({ kind }) => kind === 'same').length, aside: touched.length };
    if (options.json === true) print(JSON.stringify({ restored: true, made: found.manifest.made, sha256: file.sha256, ...counts, ...done, recorded, ms }));
    else print(doneText({ found, plan, done, counts, recorded, ms, typing: unlockedAt - began }));
    return 0;
  } finally {
    close(file);
  }
}

async function isRunning({ socket }: Plan): Promise<boolean> {
  return await callGateway(socket, 'GET', '/v1/status').catch(() => 'somebody') !== undefined;
}

/** Names that sort by time. */
function stampOf(date: Date): string {
  return date.toISOString().replaceAll(/[-:]|\.\d+/g, '');
}

const WORDS: Readonly<Record<Step['kind'], string>> = {
  create: 'new       ', replace: 'replace   ', merge: 'merge     ', same: 'unchanged ', away: 'move away ', directory: 'directory ',
};

function planText({ manifest }: Survey, { steps, state }: Plan, { refused, running }: { readonly refused: boolean; readonly running: boolean }): string {
  return [
    `a backup of ${manifest.host}, made ${manifest.made}`,
    ...steps.filter(({ kind }) => kind !== 'directory' && kind !== 'same').map(({ kind, target }) => `${WORDS[kind]} ${target}`),
    `${counted(steps.filter(({ kind }) => kind === 'same').length, 'file')} would not change`,
    ...manifest.outside.map((path) => `outside the directory of the configuration: ${path}`),
    refused ? 'nothing was changed: there is something already; --force restores over it, and keeps what is replaced' : 'nothing was changed; what is replaced or moved away would be kept in .before-restore-TIME beside it',
    ...(running ? [`a gateway runs on ${state}: stop it before you restore`] : []),
  ].map(printable).join('\n');
}

interface Outcome {
  readonly found: Survey;
  readonly plan: Plan;
  readonly done: Restored;
  readonly counts: { readonly files: number; readonly same: number; readonly aside: number };
  readonly recorded: boolean;
  readonly ms: number;
  readonly typing: number;
}

function doneText({ found: { manifest }, plan, done, counts, recorded, ms, typing }: Outcome): string {
  return [
    `restored ${counted(counts.files, 'file')} of ${manifest.made} in ${timeText(ms)}${typing > 5_000 ? `, ${timeText(typing)} of it for the passphrase` : ''}${counts.same === 0 ? '' : `; ${counts.same} were as they are`}`,
    ...(counts.aside === 0 ? [] : [`${counted(counts.aside, 'file')} of before kept in .before-restore-… beside: remove them when you need them no more, keys are among them`]),
    ...(done.foreign === 0 ? [] : [`${counted(done.foreign, 'file')} belonged to another user, and only root can give them back`]),
    ...done.unmerged.map((path) => `${path}: could not be read and was replaced: what was revoked after ${manifest.made} has to be revoked again`),
    ...(plan.steps.some(({ kind }) => kind === 'merge') ? [] : [`what was revoked after ${manifest.made} is not in it: revoke it again before you start`]),
    ...(recorded ? [] : ['this is not on record: there is no audit where it was done']),
    `next: wardgate check -c ${plan.configuration}`,
  ].map(printable).join('\n');
}
