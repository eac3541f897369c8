import type { WebhookConfig } from '../../config/schema.ts';
import type { Reason } from '../../policy/facts.ts';
import type { ToldEvent, WebhookOutcome } from './event.ts';
import { judgeSignature } from './signature.ts';

/** A request that brings an event. */
export interface WebhookRequest {
  readonly id: string;
  readonly method: string;
  /** Name, value, name, value…: as received. */
  readonly fields: readonly string[];
  readonly body: Uint8Array;
}

export interface WebhookAnswer {
  readonly status: number;
  readonly body: object;
  /** Why it was not taken, for the record. */
  readonly refusal?: { readonly reason: Reason; readonly detail: string };
}

/** Where webhooks are answered on one thread. */
export interface WebhookDesk {
  /** Rejects when nobody takes the event in time: its sender tries again. */
  take(webhook: string, request: WebhookRequest): Promise<WebhookAnswer>;
}

export interface WebhookDeskOptions {
  readonly webhooks: Readonly<Record<string, WebhookConfig>>;
  /** By webhook; none where the certificate is enough. */
  readonly secrets: Readonly<Record<string, readonly Uint8Array[]>>;
  /** Where hours of devices are meant that name no zone. */
  readonly zone: string;
  /** Has the gateway take an event. */
  readonly tell: (told: ToldEvent) => Promise<WebhookOutcome>;
  readonly now: () => number;
}

/** Checks who tells an event and how it is written; what it comes to is for the gateway as a whole. */
export function createWebhookDesk({ webhooks, secrets: all, zone, tell, now }: WebhookDeskOptions): WebhookDesk {
  // The schemas of events are a fifth of what a thread would load: only where there are webhooks. Now and not with the first event, when another version may lie there.
  const reading = Object.keys(webhooks).length === 0 ? undefined : import('./event.ts');
  reading?.catch(() => undefined);
  return {
    async take(webhook, { id, method, fields, body }) {
      const config = webhooks[webhook];
      if (config === undefined || reading === undefined) throw new Error(`no webhook named ${webhook}`);
      const secrets = all[webhook] ?? [];
      if (config.secrets !== undefined) {
        const verdict = judgeSignature({ fields, body, secrets, tolerance: config.tolerance, now: now() });
        // Who has not shown that they know the secret is told nothing more.
        if (verdict.kind === 'refused') return refusal(401, 'invalid_token', 'The event is not signed as it has to be', id, verdict);
      }
      if (method !== 'POST') return invalid(id, ['expected POST']);
      const { readEvent } = await reading;
      const read = readEvent(config.kind, body, zone);
      if (read.kind === 'invalid') return invalid(id, read.faults);
      const outcome = await tell({ webhook, event: read.event, requestId: id });
      switch (outcome.kind) {
        case 'invalid': return invalid(id, [outcome.detail]);
        case 'conflict': return refusal(409, 'conflict', 'The event contradicts another', id, { reason: 'webhook_conflict', detail: outcome.detail }, outcome.detail);
        default: return { status: 200, body: { id: read.event.id, result: outcome.kind } };
      }
    },
  };
}

function invalid(id: string, faults: readonly string[]): WebhookAnswer {
  return refusal(400, 'bad_request', 'The event is malformed', id, { reason: 'webhook_invalid', detail: faults.join('; ') }, faults.join('; '));
}

/** RFC 9457; `detail` is for senders that are known, so that whoever runs them sees what is wrong. */
function refusal(status: number, code: string, title: string, id: string, { reason, detail: cause }: { readonly reason: Reason; readonly detail: string }, detail?: string): WebhookAnswer {
  return {
    status, refusal: { reason, detail: cause },
    body: { type: `urn:wardgate:problem:${code}`, title, status, code, request_id: id, ...(detail === undefined ? {} : { detail }) },
  };
}
