import { expect, it } from 'vitest';
import { trustUnderLoad } from '../bench/trust-under-load.ts';

it('fails no request of anybody else while a CA goes from a directory of trust and comes again, and cuts its clients off within seconds', { timeout: 120_000 }, async () => {
  const { clients, changes, resumed } = await trustUnderLoad({ connections: 8, concerned: 4, changes: 1, wrk: false });
  for (const { failures } of clients) expect(failures).toEqual([]);
  expect(Math.min(...clients.map(({ requests }) => requests))).toBeGreaterThan(0);
  expect(changes).toHaveLength(1);
  expect(resumed).toEqual([{ before: 1, after: 0, later: 1 }]);
});
