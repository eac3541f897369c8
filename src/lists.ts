import type { AuditWriter } from './audit/writer.ts';
import { createBreakGlass, type BreakGlass } from './break-glass.ts';
import type { Snapshot } from './config/snapshot.ts';
import { createDenials, type Denials } from './denials.ts';
import type { Transfer } from './identity/people.ts';
import type { Inventory } from './inventory.ts';
import type { Log } from './log.ts';
import type { SuspensionOrder } from './policy/suspensions.ts';
import type { Publisher } from './publisher.ts';
import { DENIALS, openDenyList, type DenyList } from './store/deny-list.ts';
import type { DenyTable } from './store/deny-table.ts';
import { GRANTS, openGrants, type GrantList, type GrantReport } from './store/grants.ts';
import type { Journal } from './store/journal.ts';
import type { Replicas } from './store/replicas.ts';
import { openSuspensions, SUSPENSIONS, type SuspensionList } from './store/suspensions.ts';
import { openToldDevices, TOLD_DEVICES, type DeviceChange } from './store/told-devices.ts';
import type { ToldEvents } from './store/told-events.ts';
import { openTransfers, TRANSFERS, transfersIn, type TransferChange } from './store/transfers.ts';
import { createSuspensions, type Suspensions } from './suspensions.ts';
import { createWebhooks, type Webhooks, type WebhooksOptions } from './webhooks.ts';

/** What of a state directory outlives the process: lists of changes that exist once a gateway. */
export interface Journals {
  readonly denyList: DenyList;
  readonly suspensions: SuspensionList;
  readonly transfers: Journal<TransferChange>;
  readonly devices: Journal<DeviceChange>;
  readonly grants: GrantList;
  close(): void;
}

/** Opens the lists of a state directory, whose lock the caller holds; throws when one of them cannot be read. */
export function openJournals(state: string, table: DenyTable): Journals {
  const journals = {
    denyList: openDenyList(state, table), suspensions: openSuspensions(state), transfers: openTransfers(state), devices: openToldDevices(state), grants: openGrants(state),
  };
  return {
    ...journals,
    close() {
      for (const journal of Object.values(journals)) journal.close();
    },
  };
}

/** Changes of these lists, each in force on every thread, on record, and known to the other replicas. */
export interface Lists {
  readonly denials: Denials;
  readonly suspensions: Suspensions;
  readonly breakGlass: BreakGlass;
  readonly webhooks: Webhooks;
  /** Who has come to other roles than those of their certificates. */
  transfers(): readonly Transfer[];
  /** Ends what has expired. To be called about once a second. */
  look(): void;
}

export interface ListsOptions {
  readonly journals: Journals;
  readonly events: ToldEvents;
  /** Absent: nobody else has to know. */
  readonly replicas: Replicas | undefined;
  readonly publisher: Publisher;
  readonly inventory: Inventory;
  readonly audit: AuditWriter;
  readonly config: () => Snapshot['config'];
  /** Routes that are paused at the moment because something ends. */
  readonly pauses: () => readonly SuspensionOrder[];
  /** A grant for an emergency was opened. */
  readonly opened: (grant: GrantReport) => void;
  /** What became of an event that a webhook was told. */
  readonly counted: WebhooksOptions['count'];
  readonly now: () => number;
  readonly log: Log;
}

/** Each list is kept here and shared with the replicas: what one of them announces the others receive. */
export function createLists({ journals, events, replicas, publisher, inventory, audit, config, pauses, opened, counted, now, log }: ListsOptions): Lists {
  const { denyList, grants } = journals;
  const transfers = (): readonly Transfer[] => transfersIn(journals.transfers.latest());
  const denials = createDenials({ list: denyList, audit, sweep: publisher.sweep, announce: async (change) => announceDenial?.(change), now, log });
  const announceDenial = replicas?.share({ ...DENIALS, name: 'deny', receive: denials.receive, isNews: denyList.isNews, changes: denyList.changes });
  const suspensions = createSuspensions({
    list: journals.suspensions, config, registered: (device) => (config().devices === undefined ? undefined : inventory.get(device) !== undefined), pauses, audit, announce: async (change) => announceSuspension?.(change), now, log,
    publish: (orders) => publisher.order({ kind: 'suspensions', orders }),
  });
  const announceSuspension = replicas?.share({
    ...SUSPENSIONS, name: 'suspensions', receive: suspensions.receive, isNews: journals.suspensions.isNews, changes: journals.suspensions.changes,
  });
  const breakGlass = createBreakGlass({
    list: grants, audit, announce: async (change) => announceGrant?.(change), now, log, alarm: opened,
    publish: (withdrawn) => publisher.order({ kind: 'withdrawn', grants: withdrawn }),
  });
  const announceGrant = replicas?.share({ ...GRANTS, name: 'break-glass', receive: breakGlass.receive, isNews: grants.isNews, changes: grants.changes });
  const webhooks = createWebhooks({
    config, denials, denyList, transfers: journals.transfers, devices: journals.devices, events, audit, now,
    publishTransfers: () => publisher.order({ kind: 'transfers', transfers: transfers() }),
    async publishDevice(id) {
      await inventory.tellOne(id, publisher.tell);
      await publisher.sweep();
    },
    deviceOf: inventory.get,
    announceTransfer: async (change) => announceTransfer?.(change),
    announceDevice: async (change) => announceDevice?.(change),
    count: counted,
    failed: (webhook, error) => log.error({ webhook, error: error.message }, 'an event could not be taken'),
    fault: (error) => log.error({ error: error.message }, 'what another gateway was told could not be taken'),
  });
  const announceTransfer = replicas?.share({
    ...TRANSFERS, name: 'transfers', receive: webhooks.receiveTransfer, isNews: journals.transfers.isNews, changes: journals.transfers.latest,
  });
  const announceDevice = replicas?.share({ ...TOLD_DEVICES, name: 'devices', receive: webhooks.receiveDevice, isNews: journals.devices.isNews, changes: journals.devices.latest });

  return {
    denials, suspensions, breakGlass, webhooks, transfers,
    look() {
      denials.expire();
      suspensions.look();
      breakGlass.look();
    },
  };
}
