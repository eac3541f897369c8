import type { AlarmReport } from '../desk.ts';

/** What a channel is to tell. */
export interface Told {
  readonly kind: 'raised' | 'reminder';
  readonly alarm: AlarmReport;
}

/** A message about something else than alarms, as each kind of channel tells it. `time` is ISO 8601. */
export interface Announcement {
  readonly kind: string;
  readonly time: string;
  readonly subject: string;
  /** Of a mail. */
  readonly text: string;
  /** Of a webhook, beside `id` and `gateway`. */
  readonly body: object;
  /** Of syslog, a message each. */
  readonly lines: readonly { readonly text: string; readonly body: object }[];
}

/** A way to somebody who should know. */
export interface Channel {
  readonly name: string;
  /** Deliveries are at least so many ms apart: what comes meanwhile goes together. */
  readonly pace: number;
  /** How many go together. */
  readonly most: number;
  /** Resolves once the receiver has taken all of it; rejects within the channel's deadline when it has not. `id` is the same when the same is tried again. */
  send(told: readonly Told[], id: string): Promise<void>;
  /** The same for something else. */
  announce(announcement: Announcement, id: string): Promise<void>;
  close(): void;
}

/** How a channel is verified, and what it is shown; PEM. */
export interface ChannelTls {
  readonly trust: string;
  readonly certificate?: string;
  readonly key?: string;
  /** What its certificate must carry. */
  readonly serverName: string;
}

/** Everything that a channel is made of; structured-cloneable. Times in ms. */
export type ChannelSetup = MailSetup | WebhookSetup | SyslogSetup;

interface Named {
  readonly name: string;
  readonly rules?: readonly string[];
  readonly after?: number;
  readonly timeout: number;
  readonly tls: ChannelTls;
}

export interface MailSetup extends Named {
  readonly kind: 'mail';
  readonly host: string;
  readonly port: number;
  readonly implicit: boolean;
  readonly from: string;
  readonly to: readonly string[];
  readonly login?: { readonly user: string; readonly password: string };
}

export interface WebhookSetup extends Named {
  readonly kind: 'webhook';
  readonly url: string;
  readonly secret: Uint8Array;
}

export interface SyslogSetup extends Named {
  readonly kind: 'syslog';
  readonly host: string;
  readonly port: number;
}

/** Fails what takes longer than it may: a receiver that says nothing must not keep others waiting. */
export async function within<Result>(ms: number, work: Promise<Result>, what: string): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([work, new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ms} ms`)), ms);
    })]);
  } finally {
    clearTimeout(timer);
  }
}
