import type { AlarmReport } from './audit/alarms/desk.ts';
import type { AlarmsStanding } from './audit/alarms/open.ts';
import type { AuditWriter } from './audit/writer.ts';
import type { Config } from './config/schema.ts';
import type { Dispatch } from './dispatch.ts';
import type { Log } from './log.ts';

/** Alarms as operators see them: where they are configured, open until acknowledged; else they are logged and counted. */
export interface AlarmDesk {
  /** Somebody should look at this at once; where alarms are configured, the record of it opens one. */
  raise(rule: string, about: object): void;
  /** An alarm was opened. */
  opened(alarm: AlarmReport): void;
  /** Oldest first. Rejects where none are configured. */
  reports(): Promise<readonly AlarmReport[]>;
  /** Durable and on record when it resolves. Rejects when there is none of that id, or it was acknowledged before. */
  acknowledge(id: string, who: string, note: string): Promise<void>;
  /** Undefined where none are configured, or nobody answers at the moment. */
  standing(): Promise<AlarmsStanding | undefined>;
}

export interface AlarmDeskOptions {
  readonly config: () => Config;
  readonly dispatch: () => Pick<Dispatch, 'alarms'>;
  readonly audit: AuditWriter;
  readonly count: (rule: string) => void;
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Log;
}

export function createAlarmDesk({ config, dispatch, audit, count, now, log }: AlarmDeskOptions): AlarmDesk {
  async function ask<Answer>(what: Parameters<Dispatch['alarms']>[0]): Promise<Answer> {
    if (config().alarms === undefined) throw Object.assign(new Error('no alarms are configured'), { code: 'not_configured' });
    return dispatch().alarms<Answer>(what);
  }

  return {
    raise(rule, about) {
      if (config().alarms !== undefined) return;
      count(rule);
      log.warn({ alarm: rule, ...about }, 'alarm');
    },
    opened({ id, rule, subject, text, opened }) {
      count(rule);
      log.warn({ alarm: rule, id, subject, opened }, `alarm: ${text}`);
    },
    reports: () => ask<readonly AlarmReport[]>({ kind: 'list' }),
    async acknowledge(id, who, note) {
      const { rule } = await ask<AlarmReport>({ kind: 'acknowledge', id, who, note });
      await audit.append({ time: new Date(now()).toISOString(), event: 'alarm', result: 'done', who, detail: `acknowledged ${rule} ${id}: ${JSON.stringify(note)}` });
    },
    standing: async () => (config().alarms === undefined ? undefined : dispatch().alarms<AlarmsStanding>({ kind: 'standing' }).catch(() => undefined)),
  };
}
