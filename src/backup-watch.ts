import type { Gauge } from 'prom-client';
import type { AuditWriter } from './audit/writer.ts';
import { lastRun, noteWatch, readWatch, RUN_KINDS, type RunKind, type Watch } from './backup/runs.ts';
import type { Config } from './config/schema.ts';
import type { Log } from './log.ts';

/** How a kind of run stands. */
export interface BackupReport {
  readonly run: RunKind;
  /** When one last went well, ISO 8601; absent: never. */
  readonly last?: string;
  /** When the next one is missed, ISO 8601; absent: none is expected. */
  readonly due?: string;
  readonly missed: boolean;
}

/** Looks after backups that others make: one that is missed raises an alarm. */
export interface BackupWatch {
  report(): readonly BackupReport[];
  /** Resolves when what was missed is on record; never rejects. */
  look(): Promise<void>;
  close(): Promise<void>;
}

export interface BackupWatchOptions {
  readonly state: string;
  readonly config: () => Config['backup'];
  readonly audit: Pick<AuditWriter, 'append'>;
  /** For gateways without alarms. */
  readonly raise: (rule: 'backup_missed', about: object) => void;
  readonly metrics: { readonly backupLast: Gauge<'run'>; readonly backupMissed: Gauge<'run'> };
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Log;
}

const LOOK_MS = 60_000;
const DAY_MS = 86_400_000;
/** A run of a clock that was in the future says nothing. */
const AHEAD_MS = 3_600_000;
const NAMES: Readonly<Record<RunKind, string>> = { create: 'no backup was made', verify: 'no backup was tested' };

/** Looks at once, and then every minute. */
export function watchBackups({ state, config, audit, raise, metrics, now, log }: BackupWatchOptions): BackupWatch {
  let busy: Promise<void> | undefined;
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();

  /** Since when they are expected: from the first look on, whatever restarts. */
  function watch(): Watch {
    const known = readWatch(state);
    if (known !== undefined && Date.parse(known.since) <= now() + AHEAD_MS) return known;
    const begun: Watch = { since: new Date(now()).toISOString(), told: {} };
    noteWatch(state, begun);
    return begun;
  }

  function standing(run: RunKind, since: string): BackupReport {
    const found = lastRun(state, run)?.at;
    const last = found === undefined || Date.parse(found) > now() + AHEAD_MS ? undefined : found;
    const expected = config()?.expected[run];
    const due = expected === undefined ? undefined : Date.parse(last ?? since) + expected;
    return { run, ...(last === undefined ? {} : { last }), ...(due === undefined ? {} : { due: new Date(due).toISOString() }), missed: due !== undefined && due < now() };
  }

  async function tell({ run, last, due }: BackupReport): Promise<void> {
    const detail = `${run}: ${NAMES[run]} ${last === undefined ? 'yet' : `since ${last}`}, and one was due by ${due}`;
    await audit.append({ time: new Date(now()).toISOString(), event: 'alarm', result: 'failed', alarm: 'backup_missed', detail });
    raise('backup_missed', { run, detail });
    const known = watch();
    noteWatch(state, { ...known, told: { ...known.told, [run]: new Date(now()).toISOString() } });
  }

  async function once(): Promise<void> {
    // Nobody waits for what nobody expects.
    const { since, told } = config() === undefined ? { since: new Date(now()).toISOString(), told: {} as Watch['told'] } : watch();
    for (const report of RUN_KINDS.map((run) => standing(run, since))) {
      const { run, last, missed } = report;
      metrics.backupLast.set({ run }, last === undefined ? 0 : Date.parse(last) / 1_000);
      metrics.backupMissed.set({ run }, missed ? 1 : 0);
      const before = Date.parse(told[run] ?? '');
      // Told once a day, and not again by a restart.
      if (missed && !(now() - before < DAY_MS && before <= now() + AHEAD_MS)) await tell(report);
    }
  }

  function look(): Promise<void> {
    busy ??= once().catch((error: Error) => log.error({ error: error.message }, 'whether backups are made cannot be known')).finally(() => {
      busy = undefined;
    });
    return busy;
  }

  void look();
  return {
    report() {
      const since = readWatch(state)?.since ?? new Date(now()).toISOString();
      return RUN_KINDS.map((run) => standing(run, since));
    },
    look,
    async close() {
      clearInterval(timer);
      await busy;
    },
  };
}
