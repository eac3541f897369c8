import type { AuditEvent } from '../forms/fhir.ts';
import type { Consumer, FedRecord } from '../feed.ts';
import { appendLines } from './append.ts';
import type { SinkGround } from './ground.ts';
import { openRepository, type Outcome } from './repository.ts';
import type { FhirSetup } from './setup.ts';

/** Pauses between attempts at a record that is refused. */
const PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2_000;
const LONGEST_REASON = 500;

interface Outgoing {
  readonly fed: FedRecord;
  /** Its place in the batch. */
  readonly index: number;
  readonly event: AuditEvent;
}

/**
 * Posts AuditEvents to a repository, one by one or as batch Bundles. A repository that is away, overloaded or does not know us gets them later; a record
 * that it refuses by itself is tried a few times and then put into the dead-letter file, on the disk before anything behind it counts as delivered.
 */
export function openFhirSink(setup: FhirSetup, { forms, now, warn }: SinkGround): Consumer {
  const { name, bundle, tries, deadLetters } = setup;
  const repository = openRepository(setup);
  let dead = 0;
  let closed = false;
  /** What the repository has already of a batch that comes again. */
  const accepted = new Set<string>();

  /** Resolves once each is either with the repository or in the dead-letter file; rejects when the repository as a whole does not take them. */
  async function deliver(group: readonly Outgoing[]): Promise<void> {
    let left = group.filter(({ fed }) => !accepted.has(keyOf(fed)));
    for (let attempt = 1; left.length > 0; attempt++) {
      const outcomes = await repository.send(left.map(({ event }) => event));
      const refused: { readonly one: Outgoing; readonly outcome: Outcome }[] = [];
      left.forEach((one, at) => {
        const outcome = outcomes[at] as Outcome;
        if (outcome.kind === 'accepted') accepted.add(keyOf(one.fed));
        else refused.push({ one, outcome });
      });
      const away = refused.find(({ outcome }) => outcome.kind === 'later');
      if (away !== undefined) throw new Error(`${setup.url}: ${away.outcome.reason}`);
      if (attempt >= tries && refused.length > 0) return bury(refused);
      left = refused.map(({ one }) => one);
      if (left.length > 0) await pause(Math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** (attempt - 1)));
      if (closed) throw new Error('the sink is closed');
    }
  }

  async function bury(refused: readonly { readonly one: Outgoing; readonly outcome: Outcome }[]): Promise<void> {
    await appendLines(deadLetters, refused.map(({ one: { fed: { segment, seq }, event }, outcome: { reason } }) => (
      JSON.stringify({ time: new Date(now()).toISOString(), sink: name, segment, seq, reason: reason.slice(0, LONGEST_REASON), event })
    )));
    dead += refused.length;
    warn(`${name}: ${setup.url} refused ${refused.length} AuditEvents for good, they are in ${deadLetters}: ${refused[0]?.outcome.reason.slice(0, LONGEST_REASON)}`);
  }

  return {
    name,
    async take(batch, passed) {
      const outgoing = batch.flatMap((fed, index): Outgoing[] => {
        const event = forms.fhir(fed);
        return event === undefined ? [] : [{ fed, index, event }];
      });
      for (let at = 0; at < outgoing.length; at += bundle) {
        const group = outgoing.slice(at, at + bundle);
        await deliver(group);
        accepted.clear();
        passed((group.at(-1)?.index ?? 0) + 1);
      }
    },
    deadLetters: () => dead,
    close() {
      closed = true;
      repository.close();
    },
  };
}

function keyOf({ segment, seq }: FedRecord): string {
  return `${segment} ${seq}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
