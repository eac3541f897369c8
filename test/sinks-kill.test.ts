import { expect, test } from 'vitest';
import { outage } from './support/sink-outage.ts';

test('a gateway that is killed while its sinks are served loses nothing, and repeats nothing that was acknowledged', async () => {
  const results = await outage({ kills: 1, load: 600, outages: false });
  expect(Object.keys(results)).toEqual(['siem', 'repository', 'lines']);
  for (const { records, lost, made_up: madeUp, repeated_acknowledged: acknowledged } of Object.values(results)) {
    expect(records).toBeGreaterThan(5);
    expect(lost).toEqual([]);
    expect(madeUp).toEqual([]);
    expect(acknowledged).toEqual([]);
  }
});
