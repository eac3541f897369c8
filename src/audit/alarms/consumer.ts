import type { Consumer } from '../feed.ts';
import { ALARMS_CONSUMER } from './configured.ts';
import { openAlarms, type Alarms, type AlarmsGround, type AlarmsSetup, type AlarmsStanding } from './open.ts';
import type { AlarmReport } from './desk.ts';

/** What is asked of alarms. */
export type AlarmsAsk =
  | { readonly kind: 'list' }
  | { readonly kind: 'standing' }
  | { readonly kind: 'acknowledge'; readonly id: string; readonly who: string; readonly note: string };

const CLOSE_MS = 500;

/** Alarms as somebody who is handed every record. */
export interface AlarmsConsumer extends Consumer {
  /** Throws when what is kept of alarms cannot be opened, or what is asked cannot be done. */
  answer(ask: AlarmsAsk): readonly AlarmReport[] | AlarmsStanding | AlarmReport;
}

/** What cannot be opened must not keep records from others: it is tried again with every batch. */
export function createAlarmsConsumer(setup: AlarmsSetup, ground: AlarmsGround): AlarmsConsumer {
  let opened: Alarms | undefined;

  function alarms(): Alarms {
    return opened ??= openAlarms(setup, ground);
  }

  try {
    alarms();
  } catch (error) {
    ground.warn(`alarms cannot be opened: ${(error as Error).message}`);
  }

  return {
    name: ALARMS_CONSUMER,
    take: async (batch) => alarms().take(batch),
    answer(ask) {
      switch (ask.kind) {
        case 'list': return alarms().reports();
        case 'standing': return alarms().standing();
        case 'acknowledge': return alarms().acknowledge(ask.id, ask.who, ask.note);
      }
    },
    async close() {
      await opened?.close(CLOSE_MS);
    },
  };
}
