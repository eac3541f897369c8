import { expect, it } from 'vitest';
import { reloadUnderLoad } from '../bench/reload-under-load.ts';

it('fails no request of 10,000 over 64 connections, nor of those that twenty reloads meet', { timeout: 120_000 }, async () => {
  const result = await reloadUnderLoad({ requests: 10_000, connections: 64, reloads: 20 });
  expect(result.failures).toEqual([]);
  expect(result.requests).toBeGreaterThanOrEqual(10_000);
  expect(result.duringReloads).toBeGreaterThan(0);
});
