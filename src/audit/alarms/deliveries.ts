import { HIDDEN } from '../masked-text.ts';
import type { Channel, Told } from './channels/channel.ts';
import type { AlarmReport, Desk, Notice } from './desk.ts';
import type { Trigger } from './rule.ts';

/** Tells channels what is due, each at its own pace; what one of them does not take waits and is tried again, for ever. */
export interface Deliveries {
  /** Something new may be due. */
  look(): void;
  /** Gives what is under way so many ms, and ends all. */
  close(deadline: number): Promise<void>;
}

export interface DeliveriesOptions {
  readonly desk: Pick<Desk, 'due' | 'told' | 'report'>;
  readonly channels: readonly Omit<Channel, 'announce'>[];
  /** Keeps what changed on the desk. */
  readonly commit: () => void;
  readonly now: () => number;
  readonly count: (channel: string, result: 'delivered' | 'failed') => void;
  readonly warn: (detail: string) => void;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;

interface Way {
  readonly channel: Omit<Channel, 'announce'>;
  busy: Promise<void> | undefined;
  /** ms since the epoch: not before. */
  next: number;
  pause: number;
  /** What was tried and not taken: the same is tried again, under the same id. */
  tried: { readonly id: string; readonly notices: readonly Notice[] } | undefined;
}

/** What of an alarm leaves: its records are found by segment and number; what staff noted stays. */
function outward(alarm: AlarmReport): AlarmReport {
  const without = ({ time, segment, seq, summary }: Trigger): Trigger => ({ time, segment, seq, summary });
  const { acknowledged } = alarm;
  return { ...alarm, records: alarm.records.map(without), recent: alarm.recent.map(without), ...(acknowledged === undefined ? {} : { acknowledged: { ...acknowledged, note: HIDDEN } }) };
}

export function createDeliveries({ desk, channels, commit, now, count, warn }: DeliveriesOptions): Deliveries {
  const ways = channels.map((channel): Way => ({ channel, busy: undefined, next: 0, pause: 0, tried: undefined }));
  let closed = false;

  function look(): void {
    if (closed) return;
    for (const way of ways) {
      if (way.busy !== undefined || now() < way.next) continue;
      const batch = nextOf(way);
      if (batch === undefined) continue;
      way.busy = deliver(way, batch).finally(() => {
        way.busy = undefined;
      });
    }
  }

  function nextOf({ channel, tried }: Way): Way['tried'] {
    const due = desk.due(channel.name, now(), channel.most);
    if (due.length === 0) return undefined;
    const again = tried !== undefined && tried.notices.every((one) => due.includes(one));
    return again ? tried : { id: due.map(({ alarm, kind, due: at }) => `${alarm} ${kind} ${at}`).join('\n'), notices: due };
  }

  async function deliver(way: Way, batch: NonNullable<Way['tried']>): Promise<void> {
    const { channel } = way;
    const told = batch.notices.flatMap(({ alarm, kind }): Told[] => {
      const report = desk.report(alarm);
      return report === undefined ? [] : [{ kind, alarm: outward(report) }];
    });
    try {
      if (told.length > 0) await channel.send(told, batch.id);
      desk.told(batch.notices);
      commit();
      if (way.pause > 0) warn(`the alarm channel ${channel.name} takes alarms again`);
      way.pause = 0;
      way.tried = undefined;
      way.next = now() + channel.pace;
      count(channel.name, 'delivered');
    } catch (error) {
      if (way.pause === 0) warn(`the alarm channel ${channel.name} takes nothing: ${(error as Error).message}`);
      way.tried = batch;
      way.pause = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, way.pause * 2));
      way.next = now() + way.pause;
      count(channel.name, 'failed');
    }
  }

  return {
    look,
    async close(deadline) {
      closed = true;
      const busy = Promise.all(ways.map((way) => way.busy));
      await Promise.race([busy, new Promise((resolve) => setTimeout(resolve, deadline).unref())]);
      for (const { channel } of ways) channel.close();
    },
  };
}
