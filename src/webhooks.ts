import { hash } from 'node:crypto';
import type { AuditWriter } from './audit/writer.ts';
import type { Device } from './config/device.ts';
import type { Config } from './config/schema.ts';
import type { Denials } from './denials.ts';
import type { CmdbEvent, HrEvent, ToldEvent, WebhookEvent, WebhookOutcome } from './forward/webhooks/event.ts';
import { subjectText, type DenyList, type DenySubject } from './store/deny-list.ts';
import { AHEAD_MS, type ChangeKind, type Dated, type Journal } from './store/journal.ts';
import { deviceKey, TOLD_DEVICES, type DeviceChange } from './store/told-devices.ts';
import type { ToldEvents } from './store/told-events.ts';
import { TRANSFERS, type TransferChange } from './store/transfers.ts';

export interface Webhooks {
  /** Takes an event: durable, and in force on every thread, when it resolves. Rejects when it cannot be kept: the sender may try again. */
  take(told: ToldEvent): Promise<WebhookOutcome>;
  /** A transfer that another gateway took. */
  receiveTransfer(change: TransferChange): void;
  /** A device that another gateway was told of. */
  receiveDevice(change: DeviceChange): void;
}

export interface WebhooksOptions {
  readonly config: () => Config;
  readonly denials: Pick<Denials, 'deny' | 'take'>;
  readonly denyList: Pick<DenyList, 'denies' | 'entries'>;
  readonly transfers: Journal<TransferChange>;
  readonly devices: Journal<DeviceChange>;
  readonly events: ToldEvents;
  /** Has every thread take the transfers that are in force. */
  readonly publishTransfers: () => Promise<void>;
  /** Has every thread take what is known of a device by now. */
  readonly publishDevice: (id: string) => Promise<void>;
  readonly deviceOf: (id: string) => Device | undefined;
  readonly announceTransfer: (change: TransferChange) => Promise<void>;
  readonly announceDevice: (change: DeviceChange) => Promise<void>;
  readonly audit: AuditWriter;
  readonly now: () => number;
  /** Counts what became of an event; `failed`: it was not taken, for want of room or because it could not be kept. */
  readonly count: (webhook: string, result: WebhookOutcome['kind'] | 'failed') => void;
  readonly failed: (webhook: string, error: Error) => void;
  readonly fault: (error: Error) => void;
}

/** Events that wait for their turn; a sender tries again. */
const MOST_WAITING = 200;
/** Persons and devices that are remembered: one secret in wrong hands must not fill memory with invented ones. */
const MOST_PERSONS = 100_000;
const MOST_DEVICES = 250_000;

export function createWebhooks(options: WebhooksOptions): Webhooks {
  const { config, denials, denyList, transfers, devices, events, audit, now } = options;
  let turn: Promise<unknown> = Promise.resolve();
  let waiting = 0;

  /** One at a time: the same event may come by two connections at once. */
  function serially<Result>(work: () => Promise<Result>): Promise<Result> {
    if (waiting >= MOST_WAITING) return Promise.reject(new Error('too many events at a time'));
    waiting++;
    const result = turn.then(work).finally(() => {
      waiting--;
    });
    turn = result.catch(() => undefined);
    return result;
  }

  async function take({ webhook, event, requestId }: ToldEvent): Promise<WebhookOutcome> {
    const digest = hash('sha256', JSON.stringify(event), 'hex');
    if (Date.parse(event.at) > now() + AHEAD_MS) return { kind: 'invalid', detail: 'at: expected a time that is not ahead of now' };
    const claimed = await events.claim(webhook, event.id, digest);
    if (claimed !== 'free') return claimed === 'taken' ? { kind: 'duplicate' } : { kind: 'conflict', detail: 'another event came under this id' };
    const who = `webhook ${webhook}`;
    const outcome = isHr(event) ? await takePersons(webhook, event, who) : await takeDevice(event, who);
    if (outcome.kind === 'conflict' || outcome.kind === 'invalid') {
      await events.release(webhook, event.id, digest);
      return outcome;
    }
    await audit.append({
      time: new Date(now()).toISOString(), event: 'webhook', result: 'done', who, request_id: requestId, detail: `${event.event} ${event.id} ${outcome.kind}: ${aboutOf(event)}: ${event.reason}`,
    });
    // Last: what was not remembered is taken again when its sender tries again, and changes nothing then.
    await events.remember(webhook, event.id, digest, now());
    return outcome;
  }

  async function takePersons(webhook: string, event: HrEvent, who: string): Promise<WebhookOutcome> {
    const { at, reason } = event;
    const given = config().webhooks[webhook]?.roles ?? [];
    const stranger = event.event === 'transfer' ? event.roles.find((role) => !given.includes(role)) : undefined;
    if (stranger !== undefined) return { kind: 'invalid', detail: `roles: ${JSON.stringify(stranger)} is none of the roles that this webhook may give` };
    if (event.event === 'leave') return { kind: await endAll(event.persons.map((id) => () => denials.take({ op: 'deny', kind: 'departed', id, told_by: 'hr', reason, who, at }))) ? 'applied' : 'superseded' };
    let news = false;
    for (const id of event.persons) {
      if (event.event === 'transfer') news = await transfer({ op: 'transfer', id, roles: event.roles, within: given, who, reason, at }) || news;
      else news = await giveBack(id, who, reason, at) || news;
    }
    return { kind: news ? 'applied' : 'superseded' };
  }

  /** False where something later is known and nothing was lifted: whoever hears that it was applied lets the person come to work. */
  async function giveBack(id: string, who: string, reason: string, at: string): Promise<boolean> {
    const restore: TransferChange = { op: 'restore', id, who, reason, at };
    const transferred = transfers.last(TRANSFERS.subject(restore))?.op === 'transfer';
    const restored = await transfer(restore);
    const departed = denyList.denies({ kind: 'departed', id, told_by: 'hr' }) || denyList.denies({ kind: 'departed', id });
    const returned = await takeBack(id, who, at);
    return (restored && returned) || (restored && transferred) || (returned && departed);
  }

  /** What HR has told of a person; an entry of before they said who told them, if it is this webhook's own. */
  async function takeBack(id: string, who: string, at: string): Promise<boolean> {
    const plain: DenySubject = { kind: 'departed', id };
    const own = denyList.denies(plain) && denyList.entries().some((entry) => entry.who === who && subjectText(entry) === subjectText(plain));
    const old = own && await denials.take({ op: 'reinstate', ...plain, who, at });
    return await denials.take({ op: 'reinstate', ...plain, told_by: 'hr', who, at }) || old;
  }

  async function transfer(change: TransferChange): Promise<boolean> {
    if (!transfers.isNews(change)) return false;
    refuseBeyond(MOST_PERSONS, transfers, TRANSFERS, change);
    transfers.append(change);
    await options.publishTransfers();
    await options.announceTransfer(change);
    return true;
  }

  async function takeDevice(event: CmdbEvent, who: string): Promise<WebhookOutcome> {
    const { at, reason } = event;
    const id = typeof event.device === 'string' ? event.device : event.device.id;
    const known = devices.last(deviceKey(id));
    switch (event.event) {
      case 'register': case 'update':
        if (known?.op === 'scrap') return { kind: 'conflict', detail: `${id} is scrapped` };
        return { kind: await tell({ op: 'put', device: event.device, who, reason, at }) ? 'applied' : 'superseded' };
      case 'remove':
        return { kind: await tell({ op: 'remove', id, who, reason, at }) ? 'applied' : 'superseded' };
      case 'scrap': {
        // For good, whatever came before it: what was told later of it came from who did not know yet.
        const after = known === undefined || known.at < at ? at : new Date(Date.parse(known.at) + 1).toISOString();
        const device: Device = { ...options.deviceOf(id) ?? { id, fingerprints: [], keys: [], serials: [], users: [] }, state: 'scrapped' };
        const scrap = async (): Promise<boolean> => known?.op !== 'scrap' && await tell({ op: 'scrap', device, who, reason, at: after });
        // Also of one that was scrapped before: its revocation may have been cut short.
        return { kind: await endAll([scrap, () => revokeDevice(device, who, reason, at)]) ? 'applied' : 'superseded' };
      }
    }
  }

  /**
   * False when all of it was revoked already. As a device's, and no more: what a CMDB registers need not be a device's certificate, and
   * must not take a person's or a CA's from anybody.
   */
  async function revokeDevice({ id, fingerprints, keys, serials }: Device, who: string, reason: string, at: string): Promise<boolean> {
    const certificates: readonly DenySubject[] = [
      ...fingerprints.map((fingerprint) => ({ kind: 'fingerprint', fingerprint, told_by: 'cmdb' }) as const), ...keys.map((key) => ({ kind: 'key', key, told_by: 'cmdb' }) as const),
      ...serials.map(({ serial, issuer }) => ({ kind: 'serial', serial, issuer, issuer_text: issuer, told_by: 'cmdb' }) as const),
    ];
    const wanted = certificates.filter((subject) => !denyList.denies(subject));
    return await endAll([
      ...wanted.map((subject) => () => denials.deny({ ...subject, reason, who }).then(() => true)),
      () => denials.take({ op: 'deny', kind: 'departed', id, told_by: 'cmdb', reason, who, at }),
    ]);
  }

  async function tell(change: DeviceChange): Promise<boolean> {
    if (!devices.isNews(change)) return false;
    refuseBeyond(MOST_DEVICES, devices, TOLD_DEVICES, change);
    devices.append(change);
    await options.publishDevice(change.op === 'remove' ? change.id : change.device.id);
    await options.announceDevice(change);
    return true;
  }

  function recordReceived({ who, reason }: TransferChange | DeviceChange, what: string): void {
    audit.append({ time: new Date(now()).toISOString(), event: 'webhook', result: 'done', who, detail: `${what}, as another gateway was told: ${reason}` }).catch(options.fault);
  }

  return {
    take: (told) => serially(() => take(told)).then((outcome) => {
      options.count(told.webhook, outcome.kind);
      return outcome;
    }, (error: Error) => {
      options.count(told.webhook, 'failed');
      options.failed(told.webhook, error);
      throw error;
    }),
    receiveTransfer(change) {
      try {
        transfers.append(change);
        options.publishTransfers().catch(options.fault);
        recordReceived(change, `${change.op} ${change.id}`);
      } catch (error) {
        options.fault(error as Error);
      }
    },
    receiveDevice(change) {
      try {
        const id = change.op === 'remove' ? change.id : change.device.id;
        devices.append(change);
        options.publishDevice(id).catch(options.fault);
        recordReceived(change, `${change.op} ${id}`);
      } catch (error) {
        options.fault(error as Error);
      }
    },
  };
}

/** A journal remembers every subject for good. */
function refuseBeyond<Change extends Dated>(most: number, journal: Journal<Change>, { subject }: ChangeKind<Change>, change: Change): void {
  if (journal.last(subject(change)) === undefined && journal.latest().length >= most) throw new Error(`more than ${most} are remembered already`);
}

function isHr(event: WebhookEvent): event is HrEvent {
  return 'persons' in event;
}

function aboutOf(event: WebhookEvent): string {
  if (!isHr(event)) return typeof event.device === 'string' ? event.device : event.device.id;
  return `${event.persons.join(', ')}${event.event === 'transfer' ? ` to ${event.roles.join(', ')}` : ''}`;
}

/** Ends access one after the other, the others' too where one could not be kept or recorded (a full disk); rejects then. Whether any of it was news. */
async function endAll(ends: readonly (() => Promise<boolean>)[]): Promise<boolean> {
  let news = false;
  const faults: unknown[] = [];
  for (const end of ends) {
    try {
      news = await end() || news;
    } catch (error) {
      faults.push(error);
    }
  }
  if (faults.length > 0) throw faults[0];
  return news;
}
