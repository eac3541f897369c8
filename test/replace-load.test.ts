import { expect, it } from 'vitest';
import { replaceUnderLoad } from '../bench/replace-under-load.ts';

it('fails no request while certificates are replaced and revoked, another takes over, and the CAs of clients change', { timeout: 120_000 }, async () => {
  const { clients, steps } = await replaceUnderLoad({ connections: 4, replacements: 1, wrk: false, expiry: false });
  expect(steps.map(({ step }) => step)).toContain('revoked, another CA\'s takes over');
  expect(clients.flatMap(({ failures }) => failures)).toEqual([]);
  expect(clients.every(({ requests }) => requests > 0)).toBe(true);
});
