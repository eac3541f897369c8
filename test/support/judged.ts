import { ask, type TestGateway } from './gateway.ts';
import type { Issued, TestPki } from './pki.ts';

/** How a doctor's request was judged. */
export interface Judged {
  /** `good` when it was answered with 200, else the reason on record. */
  readonly reason: unknown;
  readonly detail?: unknown;
}

/** Has a client ask for /records over a connection of its own, and reads how it was judged from the last record about its certificate. */
export async function judged(pki: TestPki, gateway: TestGateway, client: Issued): Promise<Judged> {
  const { status } = await ask(pki, gateway.port, '/records', { client });
  if (status === 200) return { reason: 'good' };
  const mine = (await gateway.records()).filter((record) => record['serial'] === client.serialHex).toSorted((a, b) => String(a['time']).localeCompare(String(b['time'])));
  return { reason: mine.at(-1)?.['reason'], detail: mine.at(-1)?.['detail'] };
}
