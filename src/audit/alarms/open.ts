import { alarmFile, openAlarmStore, type KeptRow } from '../../store/alarms.ts';
import type { AlarmsConfig, Config } from '../../config/schema.ts';
import type { AuditRecord } from '../record.ts';
import { openChannel } from './channels/open.ts';
import type { ChannelSetup } from './channels/channel.ts';
import { createDeliveries } from './deliveries.ts';
import { ALARM_ROWS, createDesk, NOTICE_ROWS, type AlarmReport } from './desk.ts';
import { createEngine, type Raised } from './engine.ts';
import { createState, type Change } from './memory.ts';
import { createPlaces } from './places.ts';
import type { Standing } from './rule.ts';

/** Everything that alarms are made of; structured-cloneable. */
export interface AlarmsSetup {
  /** The state directory; absolute. */
  readonly state: string;
  readonly config: Omit<AlarmsConfig, 'channels'>;
  readonly networks: Config['networks'];
  readonly channels: readonly ChannelSetup[];
}

/** How alarms stand. */
export interface AlarmsStanding {
  /** Open ones, by rule. */
  readonly open: Readonly<Record<string, number>>;
  readonly channels: readonly { readonly name: string; /** Alarms that it has not been told of yet. */ readonly pending: number; readonly delivered: number; readonly failed: number }[];
  /** Requests from unfamiliar places since the process started. */
  readonly unfamiliar: readonly { readonly route: string; readonly role: string; readonly requests: number }[];
}

/** Alarms of one gateway: fed with its records, they open, tell their channels, and wait to be acknowledged. */
export interface Alarms {
  /** Rejects, and has taken nothing, when what came of the records cannot be kept; the same may come again. */
  take(batch: readonly Standing[]): Promise<void>;
  reports(): readonly AlarmReport[];
  /** Durable when it returns. Throws an AlarmError when there is none of that id, or it was acknowledged before. */
  acknowledge(id: string, who: string, note: string): AlarmReport;
  standing(): AlarmsStanding;
  close(deadline: number): Promise<void>;
}

export interface AlarmsGround {
  readonly mask: (record: AuditRecord) => AuditRecord;
  /** The gateway's name, for those who are told. */
  readonly host: string;
  /** When alarms are wanted from, where nothing is kept of them yet; ms since the epoch. What lies before that teaches, and is no news. */
  readonly began: number;
  /** ms since the epoch */
  readonly now: () => number;
  readonly warn: (detail: string) => void;
  /** An alarm was opened, and is kept. */
  readonly raised: (alarm: AlarmReport) => void;
}

const LOOK_MS = 1_000;
const MEMORY_ROWS = 'memory';
const BEGAN_ROWS = 'began';

export function openAlarms({ state: directory, config, networks, channels }: AlarmsSetup, { mask, host, began: wantedFrom, now, warn, raised }: AlarmsGround): Alarms {
  const store = openAlarmStore(alarmFile(directory));
  const engine = createEngine(config, createPlaces({ networks, apart: config.apart }), mask);
  const counts = new Map(channels.map(({ name }) => [name, { delivered: 0, failed: 0 }]));
  const unfamiliar = new Map<string, number>();
  const began = beginning();
  let { state, desk } = load();
  const ways = channels.map((setup) => openChannel(setup, host, now));
  const deliveries = createDeliveries({
    // What a failed write took back is another one.
    desk: { due: (...asked) => desk.due(...asked), told: (notices) => desk.told(notices), report: (id) => desk.report(id) },
    channels: ways, now, warn, commit,
    count(channel, result) {
      const counted = counts.get(channel);
      if (counted !== undefined) counted[result] += 1;
    },
  });
  const timer = setInterval(look, LOOK_MS);
  timer.unref();

  function beginning(): number {
    const [kept] = store.rows(BEGAN_ROWS);
    if (kept !== undefined) return (kept.value as { at: number }).at;
    store.commit([{ kind: BEGAN_ROWS, key: 'at', value: { at: wantedFrom } }]);
    return wantedFrom;
  }

  function load(): { readonly state: ReturnType<typeof createState>; readonly desk: ReturnType<typeof createDesk> } {
    const values = (kind: string): unknown[] => store.rows(kind).map(({ value }) => value);
    return {
      state: createState(store.rows(MEMORY_ROWS).map(({ key, value }) => ({ rule: key.slice(0, key.indexOf(' ')), subject: key.slice(key.indexOf(' ') + 1), value }))),
      desk: createDesk({ channels, remind: config.remind, keep: config.keep, alarms: values(ALARM_ROWS), notices: values(NOTICE_ROWS) }),
    };
  }

  /** All that has changed, or nothing: then what is in memory is read anew, so that the records may come again. */
  function commit(): void {
    try {
      store.commit([...state.changes().map(memoryRow), ...desk.changes()]);
    } catch (error) {
      ({ state, desk } = load());
      throw error;
    }
  }

  function look(): void {
    try {
      desk.look(now());
      commit();
    } catch (error) {
      warn(`alarms cannot be kept: ${(error as Error).message}`);
    }
    deliveries.look();
  }

  /** What is none of a gateway's records must not keep all that follow from being looked at. */
  function lookedAt(standing: Standing): readonly Raised[] {
    try {
      return engine.observe(state, standing, (rule, subject) => desk.acknowledged(rule, subject));
    } catch (error) {
      warn(`alarms cannot look at record ${standing.seq} of ${standing.segment}: ${(error as Error).message}`);
      return [];
    }
  }

  function countUnfamiliar({ route = 'none', role = 'none' }: AuditRecord): void {
    unfamiliar.set(`${route} ${role}`, (unfamiliar.get(`${route} ${role}`) ?? 0) + 1);
  }

  function isNews({ at }: Raised): boolean {
    return Date.parse(at) >= began;
  }

  return {
    async take(batch) {
      const found = batch.flatMap((standing) => {
        const own = lookedAt(standing).filter(isNews);
        if (own.some(({ rule }) => rule === 'unfamiliar_address')) countUnfamiliar(standing.record);
        return own;
      });
      const opened = desk.take(found, now());
      commit();
      for (const alarm of opened) raised(alarm);
      deliveries.look();
    },
    reports: () => desk.reports(),
    acknowledge(id, who, note) {
      const done = desk.acknowledge(id, who, note, now());
      commit();
      return done;
    },
    standing: () => ({
      open: desk.open(),
      unfamiliar: [...unfamiliar].map(([key, requests]) => ({ route: key.slice(0, key.indexOf(' ')), role: key.slice(key.indexOf(' ') + 1), requests })),
      channels: channels.map(({ name }) => ({ name, pending: desk.pending(name), delivered: counts.get(name)?.delivered ?? 0, failed: counts.get(name)?.failed ?? 0 })),
    }),
    async close(deadline) {
      clearInterval(timer);
      await deliveries.close(deadline);
      store.close();
    },
  };
}

function memoryRow({ rule, subject, value }: Change): KeptRow {
  return { kind: MEMORY_ROWS, key: `${rule} ${subject}`, ...(value === undefined ? {} : { value }) };
}
