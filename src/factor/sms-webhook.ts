import { createHmac, randomUUID } from 'node:crypto';
import { Agent, request } from 'undici';
import type { SmsTarget } from '../config/snapshot.ts';
import type { SmsMessage } from './factors.ts';

export interface SmsWebhook {
  /** True when the webhook took the message. Never rejects, never tries twice: a code that arrives late is worse than one that is asked for again. */
  send(message: SmsMessage): Promise<boolean>;
  close(): void;
}

const CONNECTIONS = 8;
const MOST_ANSWER = 64 * 1024;

/**
 * Opens the way to an SMS webhook: POST of `{ to, text, language }` as JSON, signed as Standard Webhooks has it (webhook-id,
 * webhook-timestamp, and webhook-signature as `v1,` and the base64 of HMAC-SHA-256 over `ID.TIMESTAMP.BODY`). Any 2xx is a yes; no
 * redirect is followed.
 */
export function openSmsWebhook(target: SmsTarget, now: () => number, warn: (detail: string) => void): SmsWebhook {
  const { url, trust, certificate, key, secret, template, timeout } = target;
  const agent = new Agent({
    connections: CONNECTIONS, pipelining: 1, headersTimeout: timeout, bodyTimeout: timeout, maxResponseSize: MOST_ANSWER,
    connect: { timeout, ca: trust, minVersion: 'TLSv1.2', ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }) },
  });
  return {
    async send({ to, code, language }) {
      const body = JSON.stringify({ to, text: template.replaceAll('{code}', code), language });
      const id = randomUUID();
      const timestamp = String(Math.floor(now() / 1000));
      const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
      try {
        const answer = await request(url, {
          dispatcher: agent, method: 'POST', body, signal: AbortSignal.timeout(timeout),
          headers: { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` },
        });
        await answer.body.dump({ limit: MOST_ANSWER });
        if (answer.statusCode >= 200 && answer.statusCode < 300) return true;
        warn(`the SMS webhook answered ${answer.statusCode}`);
      } catch (error) {
        // Nothing of the message: it holds a code and a number.
        warn(`the SMS webhook: ${(error as Error).message}`);
      }
      return false;
    },
    close() {
      // A message that is on its way may arrive: its time is limited.
      void agent.close().catch(() => undefined);
    },
  };
}
