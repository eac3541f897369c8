import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { parseDuration } from '../../config/values.ts';
import { formatName } from '../../pki/name.ts';
import { lockState, StateError, type StateLock } from '../../store/state-lock.ts';
import type { CommandGround } from '../ground.ts';
import { WrongUsage } from '../usage.ts';
import { operationUrl } from '../../ca/est/client.ts';
import { pairFiles, readPair, unconfirmed, type PairFiles } from './pair-files.ts';
import { clockFault, confirm, leafOf, renew, type Outcome } from './renewal.ts';
import { nextTurn, openUntil, parseWindow, pauseAfter, scheduleOf, type Schedule, type Window } from './window.ts';

/** The options of `wardgate renew`. */
export interface RenewOptions {
  readonly est: string;
  readonly cert: string;
  readonly key: string;
  readonly trust: string;
  readonly window: string;
  readonly before?: string;
  readonly check?: string;
  readonly overlap: string;
  readonly state?: string;
  readonly every?: boolean;
  readonly now?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** What the command needs of the world, so that a night can be lived through in a test. */
export interface Night {
  now(): number;
  /** Waits until a moment, or until the signal; by the wall clock, which may jump. */
  until(at: number, signal: AbortSignal): Promise<void>;
  /** 0 to 1 */
  random(): number;
  readonly signal: AbortSignal;
}

interface Task {
  readonly files: PairFiles;
  readonly est: string;
  readonly trust: string;
  readonly window: Window;
  readonly before?: number;
  readonly check?: URL;
  /** ms between the swap and the word to the CA that the old certificate may go */
  readonly overlap: number;
  readonly state: string;
  readonly every: boolean;
  readonly atOnce: boolean;
}

/** Longest stretch that is slept in one piece: the clock may be set, and a device may have been asleep itself. */
const LONGEST_SLEEP = 60_000;
const HOUR = 3_600_000;

export function addRenewCommand(program: Command, { jsonOption, print, settle }: CommandGround): void {
  program.command('renew').description("renew this device's certificate over EST: new key, old certificate kept until the new one has been seen working")
    .requiredOption('--est <url>', 'the EST server: https://gateway, or with its path and label')
    .requiredOption('--cert <file>', 'the certificate with its chain, PEM')
    .requiredOption('--key <file>', 'its private key, PEM')
    .requiredOption('--trust <file>', "the CAs of the EST server's own certificate, PEM")
    .option('--window <from-to>', 'the time of night to renew in, local time', '03:00-05:00')
    .option('--before <duration>', 'how long before its end the certificate is due, such as 30d (default: a third of its lifetime)')
    .option('--check <url>', "what the new certificate has to fetch before it takes the old one's place (default: the CA's certificates, through the EST server)")
    .option('--overlap <duration>', 'how long programs may go on with the old certificate before the CA is told that it may go', '12h')
    .option('--state <file>', 'where to say how it went (default: in the directory of versions beside the key)')
    .option('--once', 'one window, then end: for a timer (this is what it does without --every, too)')
    .option('--every', 'stay, and look every night')
    .option('--now', 'renew now, due or not, whatever the hour; the EST server may refuse what is not due by its own --renew-from')
    .option('--dry-run', 'say what is due and when, and do nothing')
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  wardgate renew --est https://gateway.hospital.test --cert /etc/kiosk/kiosk.pem --key /etc/kiosk/kiosk.key --trust /etc/kiosk/hospital-root.pem\n  wardgate renew … --check https://gateway.hospital.test/kiosk/ping --now\n  wardgate renew … --every'
      + '\n\nExit status 0: renewed, or nothing to do; 1: failed, the next run may succeed; 2: wrong usage; 3: refused, or nothing that another try would mend.')
    .action(settle(async (options: RenewOptions) => {
      const stop = new AbortController();
      const onSignal = (): void => stop.abort();
      process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
      try {
        return await renewCommand(options, print, realNight(stop.signal));
      } finally {
        process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
      }
    }));
}

/** `wardgate renew`; resolves with the exit code. */
export async function renewCommand(options: RenewOptions, print: (text: string) => void, night: Night): Promise<0 | 1 | 3> {
  const task = taskOf(options);
  const say = speaker(task, options.json === true, print);
  if (options.dryRun === true) return plan(task, say, night);
  const lock = lockOf(task.files);
  try {
    if (!task.every) return await oneNight(task, say, night);
    while (!night.signal.aborted) {
      await oneNight(task, say, night);
      if (night.signal.aborted) break;
      await night.until(nextLook(task, night), night.signal);
    }
    return 0;
  } finally {
    lock.release();
  }
}

function taskOf(options: RenewOptions): Task {
  const window = parseWindow(options.window);
  if (window === undefined) throw new WrongUsage(`--window: "${options.window}" is none; expected such as 03:00-05:00`);
  const before = options.before === undefined ? undefined : parseDuration(options.before);
  if (options.before !== undefined && !before) throw new WrongUsage(`--before: "${options.before}" is no duration; expected such as 30d or 12h`);
  if (operationUrl(options.est, 'cacerts') === undefined) throw new WrongUsage(`--est: "${options.est}" is no https URL; expected such as https://gateway.hospital.test`);
  const check = options.check === undefined || !URL.canParse(options.check) ? undefined : new URL(options.check);
  if (options.check !== undefined && check?.protocol !== 'https:') throw new WrongUsage(`--check: "${options.check}" is no https URL`);
  if (resolve(options.cert) === resolve(options.key)) throw new WrongUsage('--cert and --key name one file; expected two: with both in one they cannot be told apart when they change');
  const overlap = parseDuration(options.overlap);
  if (overlap === undefined) throw new WrongUsage(`--overlap: "${options.overlap}" is no duration; expected such as 12h or 0s`);
  const files = pairFiles(options.cert, options.key);
  return {
    files, overlap, est: options.est, trust: readFileSync(options.trust, 'utf8'), window, ...(before === undefined ? {} : { before }), ...(check === undefined ? {} : { check }),
    state: resolve(options.state ?? join(files.directory, 'state.json')), every: options.every === true, atOnce: options.now === true,
  };
}

export function lockOf(files: PairFiles): StateLock {
  // lockState would make it for its owner alone; programs of other users read through it.
  mkdirSync(files.directory, { recursive: true, mode: 0o755 });
  try {
    return lockState(files.directory);
  } catch (error) {
    if (error instanceof StateError && error.code === 'state_in_use') throw new Error(`${files.key}: another wardgate renew is at work on it`, { cause: error });
    throw error;
  }
}

/** What is said to people, to programs (--json) and kept in the state file. */
interface Report {
  readonly result: 'renewed' | 'not-due' | 'not-now' | 'failed';
  readonly text: string;
  readonly detail?: string;
  readonly at?: string;
  readonly serial?: string;
  readonly previous_serial?: string;
  readonly not_after?: string;
  readonly due?: string;
  readonly urgent?: string;
  readonly next?: string;
}

type Say = (report: Report, now: number, kept?: boolean) => void;

function speaker(task: Task, json: boolean, print: (text: string) => void): Say {
  return (report, now, kept = true) => {
    const { text, ...facts } = report;
    if (json) print(JSON.stringify(facts));
    else if (report.result === 'failed') process.stderr.write(`wardgate: ${text}\n`);
    else print(text);
    if (!kept) return;
    const state = `${JSON.stringify({ time: iso(now), ...facts }, undefined, 2)}\n`;
    mkdirSync(dirname(task.state), { recursive: true, mode: 0o755 });
    // In a directory that others write to it could be a link of theirs.
    rmSync(`${task.state}.new`, { force: true });
    writeFileSync(`${task.state}.new`, state, { mode: 0o644, flag: 'wx' });
    renameSync(`${task.state}.new`, task.state);
  };
}

interface Standing {
  readonly schedule: Schedule;
  /** By which the device has its place in the window. */
  readonly device: string;
  readonly fault?: string;
}

function standing(task: Task, now: number): Standing | { readonly unreadable: string } {
  try {
    const leaf = leafOf(readPair(task.files).certificate);
    const fault = clockFault(leaf, now);
    return { schedule: scheduleOf(leaf, task.before), device: formatName(leaf.subject), ...(fault === undefined ? {} : { fault }) };
  } catch (error) {
    return { unreadable: (error as Error).message };
  }
}

function plan(task: Task, say: Say, night: Night): 0 | 3 {
  const now = night.now();
  const stands = standing(task, now);
  if ('unreadable' in stands) return hopeless(stands.unreadable, say, now, false);
  if (stands.fault !== undefined) return hopeless(stands.fault, say, now, false);
  const { schedule, device } = stands;
  const turn = nextTurn(Math.max(now, schedule.due), task.window, device, 0.5);
  say({ result: now < schedule.due ? 'not-due' : 'not-now', text: `${device}: due ${iso(schedule.due)}, its turn about ${iso(turn.at)}, urgent from ${iso(schedule.urgent)}, ends ${iso(schedule.notAfter)}`, ...times(schedule), next: iso(turn.at) }, now, false);
  return 0;
}

/** One window: waits for the device's turn in it, and tries until it succeeds or the window closes. */
async function oneNight(task: Task, say: Say, night: Night): Promise<0 | 1 | 3> {
  const now = night.now();
  const stands = standing(task, now);
  if ('unreadable' in stands) return hopeless(stands.unreadable, say, now);
  if (stands.fault !== undefined) return hopeless(stands.fault, say, now);
  const { schedule, device } = stands;
  await tellIfDue(task, night);
  if (task.atOnce) return attempts(task, now, schedule, say, night);
  if (now < schedule.due) {
    say({ result: 'not-due', text: `${device}: not due before ${iso(schedule.due)}`, ...times(schedule) }, now);
    return 0;
  }
  // By now it matters more that it happens than when.
  if (now >= schedule.urgent) return attempts(task, openUntil(now, task.window) ?? now + HOUR, schedule, say, night);
  if (openUntil(now, task.window) === undefined) {
    const { at } = nextTurn(now, task.window, device, night.random());
    say({ result: 'not-now', text: `${device}: due, and its turn is ${iso(at)}`, ...times(schedule), next: iso(at) }, now);
    return 0;
  }
  const turn = nextTurn(now, task.window, device, night.random());
  await night.until(turn.at, night.signal);
  return night.signal.aborted ? 0 : attempts(task, turn.closes, schedule, say, night);
}

async function attempts(task: Task, closes: number, schedule: Schedule, say: Say, night: Night): Promise<0 | 1 | 3> {
  for (let failures = 1; ; failures += 1) {
    const outcome = await renew({ ...task, now: night.now() });
    const now = night.now();
    if (outcome.kind === 'renewed') {
      say(renewed(outcome, task), now);
      await tellIfDue(task, night);
      return 0;
    }
    const again = now + Math.max(pauseAfter(failures, night.random()), outcome.retryAfter ?? 0);
    const lastOne = outcome.again === 'no' || again >= closes;
    say(failure(outcome, schedule, now, lastOne ? undefined : again), now);
    if (outcome.again === 'no') return 3;
    if (lastOne) return 1;
    await night.until(again, night.signal);
    if (night.signal.aborted) return 1;
  }
}

/** Tells the CA that the new certificate works, once programs have had time to take it up. What fails is tried again in the next run: the old one stays good until then. */
async function tellIfDue(task: Task, night: Night): Promise<void> {
  const since = unconfirmed(task.files);
  if (since === undefined || night.now() < since + task.overlap) return;
  const fault = await confirm(task);
  if (fault !== undefined) process.stderr.write(`wardgate: the CA has not taken it that the new certificate works (${fault}); told again in the next run\n`);
}

/** When a process that stays looks again: at its turn, when the CA is to be told of the last renewal, and hourly once it is urgent. */
function nextLook(task: Task, night: Night): number {
  const now = night.now();
  const stands = standing(task, now);
  if ('unreadable' in stands || stands.fault !== undefined || (now >= stands.schedule.urgent)) return now + HOUR * (1 + night.random() / 4);
  const from = Math.max(stands.schedule.due, openUntil(now, task.window) ?? now);
  const since = unconfirmed(task.files);
  const told = since === undefined || since + task.overlap <= now ? Infinity : since + task.overlap;
  // Every day, too: somebody may have put other files in place.
  return Math.min(nextTurn(from, task.window, stands.device, night.random()).at, told, now + 24 * HOUR);
}

function renewed({ certificate, previous }: Extract<Outcome, { kind: 'renewed' }>, task: Task): Report {
  const schedule = scheduleOf(certificate, task.before);
  return {
    result: 'renewed', text: `${formatName(certificate.subject)}: renewed, serial ${certificate.serial} (before: ${previous.serial}), valid until ${iso(certificate.notAfter)}`,
    serial: certificate.serial, previous_serial: previous.serial, ...times(schedule),
  };
}

function failure(outcome: Extract<Outcome, { kind: 'failed' }>, schedule: Schedule, now: number, again: number | undefined): Report {
  const pressing = now >= schedule.urgent ? `URGENT: the certificate ends ${iso(schedule.notAfter)}` : `urgent from ${iso(schedule.urgent)}, the certificate ends ${iso(schedule.notAfter)}`;
  const next = again === undefined ? (outcome.again === 'no' ? 'somebody has to look into it' : 'tried again in the next window') : `tried again ${iso(again)}`;
  return {
    result: 'failed', text: `not renewed (${outcome.at}): ${outcome.detail}; ${next}; ${pressing}`, at: outcome.at, detail: outcome.detail, ...times(schedule),
    ...(again === undefined ? {} : { next: iso(again) }),
  };
}

function hopeless(detail: string, say: Say, now: number, kept = true): 3 {
  say({ result: 'failed', text: detail, detail }, now, kept);
  return 3;
}

function times({ due, urgent, notAfter }: Schedule): Pick<Report, 'not_after' | 'due' | 'urgent'> {
  return { not_after: iso(notAfter), due: iso(due), urgent: iso(urgent) };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

function realNight(stop: AbortSignal): Night {
  return {
    now: () => Date.now(),
    random: () => randomBytes(4).readUInt32BE() / 2 ** 32,
    signal: stop,
    async until(at, signal) {
      for (let left = at - Date.now(); left > 0 && !signal.aborted; left = at - Date.now()) await sleep(Math.min(left, LONGEST_SLEEP), signal);
    },
  };
}

export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(finish, ms);
    function finish(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      done();
    }
    signal.addEventListener('abort', finish);
  });
}
