import { hash } from 'node:crypto';
import type { KeptRow } from '../../store/alarms.ts';
import type { Raised } from './engine.ts';
import type { RuleName, Trigger } from './rule.ts';

/** An alarm: open until somebody has acknowledged it. Times are ISO 8601. */
export interface AlarmReport {
  readonly id: string;
  readonly rule: RuleName;
  /** What it is about: `certificate` and its fingerprint, for example. */
  readonly subject: string;
  readonly text: string;
  /** Of the first and the last record that led to it. */
  readonly opened: string;
  readonly last: string;
  /** How often it was found. */
  readonly count: number;
  /** The records that opened it, and the last ones since. */
  readonly records: readonly Trigger[];
  readonly recent: readonly Trigger[];
  readonly acknowledged?: { readonly at: string; readonly who: string; readonly note: string };
}

/** An alarm, and what is only needed to go on with it. */
interface Kept extends AlarmReport {
  /** What the engine calls what goes on at the moment. */
  readonly episode: string;
  /** When channels were last told; ms since the epoch. */
  readonly told: number;
}

/** Somebody is to be told. */
export interface Notice {
  readonly channel: string;
  readonly alarm: string;
  readonly kind: 'raised' | 'reminder';
  /** ms since the epoch: not before. */
  readonly due: number;
}

/** Whom the desk tells of what. */
export interface Listening {
  readonly name: string;
  /** Absent: of all. */
  readonly rules?: readonly string[];
  /** ms */
  readonly after?: number;
}

/** Alarms and who is still to be told of them; in memory, `changes` says what is to be kept. */
export interface Desk {
  /** Takes what the engine found. Resolves to the alarms that it opened. */
  take(raised: readonly Raised[], now: number): readonly AlarmReport[];
  /** Throws an AlarmError when there is none of that id, or it was acknowledged before. */
  acknowledge(id: string, who: string, note: string, now: number): AlarmReport;
  /** When the alarm about a subject was last acknowledged, in ms since the epoch; 0: never, or so long ago that it is forgotten. */
  acknowledged(rule: RuleName, subject: string): number;
  /** Has channels told again of what nobody acknowledges, and forgets what was acknowledged long ago. To be called now and then. */
  look(now: number): void;
  /** Oldest first. */
  reports(): readonly AlarmReport[];
  report(id: string): AlarmReport | undefined;
  /** How many are open, by rule. */
  open(): Readonly<Record<string, number>>;
  /** What is due for a channel, oldest first. */
  due(channel: string, now: number, most: number): readonly Notice[];
  pending(channel: string): number;
  told(notices: readonly Notice[]): void;
  /** What changed since the last call, and forgets that. */
  changes(): readonly KeptRow[];
}

export interface DeskOptions {
  readonly channels: readonly Listening[];
  /** ms */
  readonly remind: number;
  readonly keep: number;
  readonly alarms?: Iterable<unknown>;
  readonly notices?: Iterable<unknown>;
}

/** What was asked of an alarm cannot be done with it. */
export class AlarmError extends Error {
  readonly code = 'alarm_unfit';
}

export const ALARM_ROWS = 'alarm';
export const NOTICE_ROWS = 'notice';

/** Records that are shown of those that opened an alarm, and of the last ones. */
const SHOWN = 10;
/** Open alarms of one rule: what comes beyond is one alarm more. */
const MOST_OPEN = 1_000;
const MOST_KEPT = 20_000;
const REST = 'many others';

export function createDesk({ channels, remind, keep, alarms: before = [], notices: waiting = [] }: DeskOptions): Desk {
  const alarms = new Map<string, Kept>();
  const episodes = new Map<string, string>();
  const openBySubject = new Map<string, string>();
  const openByRule = new Map<string, number>();
  const answered = new Map<string, number>();
  const notices = new Map<string, Notice>();
  const known = new Set(channels.map(({ name }) => name));
  let changed = new Set<string>();
  for (const one of [...before as Iterable<Kept>].sort((a, b) => (a.opened < b.opened ? -1 : 1))) remember(one);
  for (const one of waiting as Iterable<Notice>) if (known.has(one.channel)) notices.set(noticeKey(one), one);

  function remember(alarm: Kept): void {
    const held = alarms.get(alarm.id);
    alarms.set(alarm.id, alarm);
    episodes.set(alarm.episode, alarm.id);
    const subject = subjectKey(alarm);
    if (alarm.acknowledged !== undefined) answered.set(subject, Date.parse(alarm.acknowledged.at));
    const [wasOpen, isOpen] = [held !== undefined && held.acknowledged === undefined, alarm.acknowledged === undefined];
    if (isOpen) openBySubject.set(subject, alarm.id);
    else if (openBySubject.get(subject) === alarm.id) openBySubject.delete(subject);
    if (wasOpen !== isOpen) openByRule.set(alarm.rule, (openByRule.get(alarm.rule) ?? 0) + (isOpen ? 1 : -1));
  }

  function change(alarm: Kept): void {
    remember(alarm);
    changed.add(`${ALARM_ROWS} ${alarm.id}`);
  }

  function notify(alarm: Kept, kind: Notice['kind'], now: number): void {
    for (const { name, rules, after = 0 } of channels) {
      if (rules !== undefined && !rules.includes(alarm.rule)) continue;
      const notice: Notice = { channel: name, alarm: alarm.id, kind, due: kind === 'raised' ? now + after : now };
      if (notices.has(noticeKey(notice))) continue;
      notices.set(noticeKey(notice), notice);
      changed.add(`${NOTICE_ROWS} ${noticeKey(notice)}`);
    }
  }

  function drop(notice: Notice): void {
    notices.delete(noticeKey(notice));
    changed.add(`${NOTICE_ROWS} ${noticeKey(notice)}`);
  }

  /** The alarm that a finding belongs to. */
  function belongsTo({ id, rule, subject, at }: Raised): Kept | undefined {
    const own = alarms.get(episodes.get(id) ?? '');
    // Of many others nobody has looked into each.
    const isOver = own?.subject === REST && own.acknowledged !== undefined && at > own.acknowledged.at;
    if (own !== undefined && !isOver) return own;
    const open = openBySubject.get(subjectKey({ rule, subject })) ?? ((openByRule.get(rule) ?? 0) >= MOST_OPEN ? openBySubject.get(subjectKey({ rule, subject: REST })) : undefined);
    return open === undefined ? undefined : alarms.get(open);
  }

  function open(raised: Raised, now: number): Kept {
    const { rule, at, records, text } = raised;
    const isRest = (openByRule.get(rule) ?? 0) >= MOST_OPEN;
    const alarm: Kept = {
      id: isRest ? hash('sha256', `${raised.id} ${at} ${REST}`, 'hex').slice(0, 16) : raised.id, rule, subject: isRest ? REST : raised.subject, text, opened: at, last: at, count: 1,
      records: records.slice(-SHOWN), recent: [], episode: raised.id, told: now,
    };
    change(alarm);
    notify(alarm, 'raised', now);
    return alarm;
  }

  function again(alarm: Kept, { id, at, records }: Raised): void {
    const { episode } = alarm;
    if (episode !== id && episodes.get(episode) === alarm.id) episodes.delete(episode);
    change({ ...alarm, episode: id, last: at > alarm.last ? at : alarm.last, count: alarm.count + 1, recent: [...alarm.recent, ...records].slice(-SHOWN) });
  }

  function forget(alarm: Kept): void {
    alarms.delete(alarm.id);
    if (episodes.get(alarm.episode) === alarm.id) episodes.delete(alarm.episode);
    if (alarm.acknowledged !== undefined && answered.get(subjectKey(alarm)) === Date.parse(alarm.acknowledged.at)) answered.delete(subjectKey(alarm));
    changed.add(`${ALARM_ROWS} ${alarm.id}`);
    for (const channel of known) {
      const notice = notices.get(noticeKey({ channel, alarm: alarm.id }));
      if (notice !== undefined) drop(notice);
    }
  }

  return {
    take(raised, now) {
      const opened: AlarmReport[] = [];
      for (const one of raised) {
        const alarm = belongsTo(one);
        if (alarm === undefined) opened.push(reportOf(open(one, now)));
        else again(alarm, one);
      }
      return opened;
    },
    acknowledge(id, who, note, now) {
      const alarm = alarms.get(id);
      if (alarm === undefined) throw new AlarmError(`no alarm ${JSON.stringify(id)}; expected the whole id, as wardgate alarm list shows it`);
      if (alarm.acknowledged !== undefined) throw new AlarmError(`the alarm ${id} was acknowledged by ${alarm.acknowledged.who} at ${alarm.acknowledged.at}`);
      const done: Kept = { ...alarm, acknowledged: { at: new Date(now).toISOString(), who, note } };
      change(done);
      for (const notice of notices.values()) if (notice.alarm === id && (notice.kind === 'reminder' || notice.due > now)) drop(notice);
      return reportOf(done);
    },
    look(now) {
      for (const alarm of alarms.values()) {
        if (alarm.acknowledged === undefined) {
          if (now - alarm.told < remind) continue;
          change({ ...alarm, told: now });
          notify(alarm, 'reminder', now);
        } else if (now - Date.parse(alarm.acknowledged.at) > keep || alarms.size > MOST_KEPT) forget(alarm);
      }
    },
    acknowledged: (rule, subject) => answered.get(subjectKey({ rule, subject })) ?? 0,
    reports: () => [...alarms.values()].map(reportOf),
    report(id) {
      const alarm = alarms.get(id);
      return alarm === undefined ? undefined : reportOf(alarm);
    },
    open: () => Object.fromEntries(openByRule),
    due: (channel, now, most) => [...notices.values()].filter((notice) => notice.channel === channel && notice.due <= now).slice(0, most),
    pending: (channel) => [...notices.values()].filter((notice) => notice.channel === channel).length,
    told(done) {
      for (const notice of done) drop(notice);
    },
    changes() {
      const rows = [...changed].map((entry): KeptRow => {
        const [kind, key] = [entry.slice(0, entry.indexOf(' ')), entry.slice(entry.indexOf(' ') + 1)];
        const value = kind === ALARM_ROWS ? alarms.get(key) : notices.get(key);
        return { kind, key, ...(value === undefined ? {} : { value }) };
      });
      changed = new Set();
      return rows;
    },
  };
}

function subjectKey({ rule, subject }: Pick<AlarmReport, 'rule' | 'subject'>): string {
  return `${rule} ${subject}`;
}

/** One a channel and alarm: who has not been told yet needs no reminder. */
function noticeKey({ channel, alarm }: Pick<Notice, 'channel' | 'alarm'>): string {
  return `${channel} ${alarm}`;
}

/** An alarm as it is shown. */
export function reportOf(alarm: AlarmReport): AlarmReport {
  const { id, rule, subject, text, opened, last, count, records, recent, acknowledged } = alarm;
  return { id, rule, subject, text, opened, last, count, records, recent, ...(acknowledged === undefined ? {} : { acknowledged }) };
}
