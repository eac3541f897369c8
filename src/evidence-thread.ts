import type { MessagePort } from 'node:worker_threads';
import { ALARMS_CONSUMER } from './audit/alarms/configured.ts';
import { createAlarmsConsumer, type AlarmsConsumer } from './audit/alarms/consumer.ts';
import { openSafeBoard } from './audit/board.ts';
import { EXPIRY_CONSUMER } from './audit/expiry/configured.ts';
import { createExpiryConsumer, type ExpiryConsumer } from './audit/expiry/consumer.ts';
import { createFeed, type Beginning, type Consumer } from './audit/feed.ts';
import { createForms } from './audit/forms/forms.ts';
import { createMask, maskRules } from './audit/masking.ts';
import { openMaskingKeys, type MaskingKeys } from './audit/masking-key.ts';
import { registeredSegments } from './audit/registered.ts';
import { createSink } from './audit/sinks/sink.ts';
import type { EvidenceBirth, EvidenceReport, EvidenceSetup, FromEvidence, ToEvidence } from './evidence-protocol.ts';
import { openLine, type Line } from './store/call.ts';

interface Wanted {
  readonly name: string;
  /** Another one, even of the same name, has another. */
  readonly identity: string;
  readonly make: () => Consumer;
  /** Where it begins without a position; undefined: where new ones do at the moment. */
  readonly begin?: Beginning;
}

/** Wires the thread that hands records to sinks and other consumers, apart from all that serves. */
export function startEvidence({ directory, positions, began, board, state }: EvidenceBirth, port: MessagePort): void {
  const now = (): number => Date.now();
  const line: Line<FromEvidence> = openLine<FromEvidence, ToEvidence>(port, answer);
  const warn = (detail: string): void => void line.call({ kind: 'warn', detail }).catch(() => undefined);
  const feed = createFeed({ directory, positions, board: openSafeBoard(board), registered: registeredSegments(directory), now, warn });
  /** Made when somebody needs them; then followed. */
  let keys: MaskingKeys | undefined;
  let current: ReadonlyMap<string, string> = new Map();
  let turn: Promise<unknown> = Promise.resolve();
  let alarms: AlarmsConsumer | undefined;
  let expiry: ExpiryConsumer | undefined;

  function answer(ask: ToEvidence): unknown {
    switch (ask.kind) {
      case 'configure': return turn = turn.then(() => configure(ask.setup, ask.begin));
      case 'alarms':
        if (alarms === undefined) throw new Error('no alarms are configured');
        return alarms.answer(ask.ask);
      case 'expiry':
        if (expiry === undefined) throw new Error('no warnings of what ends are configured');
        return expiry.answer(ask.ask);
      case 'report': return feed.report() satisfies EvidenceReport;
      case 'close': return turn = turn.then(() => feed.close(ask.deadline));
    }
  }

  async function configure(setup: EvidenceSetup, begin: Beginning): Promise<void> {
    const wanted = consumersOf(setup);
    const kept = new Map(wanted.filter(({ name, identity }) => current.get(name) === identity).map(({ name, identity }) => [name, identity]));
    await Promise.all([...current.keys()].filter((name) => !kept.has(name)).map((name) => feed.remove(name)));
    for (const { name, make, begin: own = begin } of wanted) if (!kept.has(name)) feed.add(make(), own);
    current = new Map(wanted.map(({ name, identity }) => [name, identity]));
  }

  function consumersOf({ sinks, alarms: wantedAlarms, expiry: wantedExpiry, masked, reporter }: EvidenceSetup): readonly Wanted[] {
    const opened = keys ??= openMaskingKeys(state, now);
    const rules = maskRules(masked);
    const forms = createForms({ rules, key: opened.current, reporter });
    const mask = createMask(rules, opened.current);
    if (wantedAlarms === undefined) alarms = undefined;
    if (wantedExpiry === undefined) expiry = undefined;
    const warnings = wantedExpiry === undefined ? [] : [{
      name: EXPIRY_CONSUMER, identity: JSON.stringify([wantedExpiry, masked, reporter]), make: () => expiry = createExpiryConsumer(wantedExpiry, { mask, host: reporter.name, now, warn }),
    }];
    const own = wantedAlarms === undefined ? [] : [{
      name: ALARMS_CONSUMER, identity: JSON.stringify([wantedAlarms, masked, reporter]),
      make: () => alarms = createAlarmsConsumer(wantedAlarms, { mask, host: reporter.name, began, now, warn, raised: (alarm) => void line.call({ kind: 'raised', alarm }).catch(() => undefined) }),
    }];
    return [...own, ...warnings, ...sinks.map((setup) => ({
      name: setup.name, identity: JSON.stringify([setup, masked, reporter]), make: () => createSink(setup, { forms, host: reporter.name, process: process.pid, now, warn }),
      ...(setup.history ? { begin: 'everything' as const } : {}),
    }))];
  }
}
