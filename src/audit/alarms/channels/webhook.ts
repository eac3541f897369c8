import { createHmac, hash } from 'node:crypto';
import { Agent, request } from 'undici';
import type { Channel, WebhookSetup } from './channel.ts';

const PACE_MS = 1_000;
const MOST = 50;
const MOST_ANSWER = 64 * 1024;

/**
 * POST of `{ id, gateway, alarms: [{ kind, … }] }`, or of an announcement's body, as JSON over verified TLS, signed as incoming webhooks are: `wardgate-timestamp`, and
 * `wardgate-signature` with HMAC-SHA-256 over the timestamp, a dot and the body. Any 2xx is a yes; no redirect is followed. The same id
 * means the same alarms, told again because no answer came.
 */
export function openWebhook({ name, url, secret, timeout, tls: { trust, certificate, key, serverName } }: WebhookSetup, gateway: string, now: () => number): Channel {
  const agent = new Agent({
    connections: 1, pipelining: 1, headersTimeout: timeout, bodyTimeout: timeout, maxResponseSize: MOST_ANSWER,
    connect: { timeout, ca: trust, servername: serverName, minVersion: 'TLSv1.2', ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }) },
  });

  async function post(content: object, id: string): Promise<void> {
    const body = JSON.stringify({ id: hash('sha256', id, 'hex').slice(0, 32), gateway, ...content });
    const timestamp = String(Math.floor(now() / 1_000));
    const signature = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
    const answer = await request(url, {
      dispatcher: agent, method: 'POST', body, signal: AbortSignal.timeout(timeout),
      headers: { 'content-type': 'application/json', 'wardgate-timestamp': timestamp, 'wardgate-signature': `sha256=${signature}` },
    });
    await answer.body.dump({ limit: MOST_ANSWER });
    if (answer.statusCode < 200 || answer.statusCode > 299) throw new Error(`the webhook answered ${answer.statusCode}`);
  }

  return {
    name, pace: PACE_MS, most: MOST,
    send: (told, id) => post({ alarms: told.map(({ kind, alarm }) => ({ kind, ...alarm })) }, id),
    announce: ({ body }, id) => post(body, id),
    close: () => void agent.destroy().catch(() => undefined),
  };
}
