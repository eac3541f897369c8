import { show, type Fault } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { halfPairs } from './key-pairs.ts';
import { items } from './plain-values.ts';

/** Positions are kept under these names by others. */
const TAKEN = ['alarms', 'expiry'];

/** Sinks of the audit, and the receiver of its checkpoints. */
export function sinkFaults(value: unknown): readonly Fault[] {
  const sinks = ['audit', 'sinks'];
  const names = items(value, sinks).map((sink) => lookUp(sink, ['name']));
  return [
    ...names.flatMap((name, index): Fault[] => {
      const earlier = names.indexOf(name);
      if (typeof name !== 'string') return [];
      if (TAKEN.includes(name)) return [{ path: [...sinks, index, 'name'], message: `the name ${show(name)} is the gateway's own` }];
      return earlier < index ? [{ path: [...sinks, index, 'name'], message: `the name ${show(name)} is taken by audit.sinks[${earlier}]` }] : [];
    }),
    ...names.flatMap((_, index) => halfPairs(value, [...sinks, index, 'tls'], 'tls.')),
    ...halfPairs(value, ['audit', 'anchor', 'syslog', 'tls'], 'tls.'),
    ...anchorFaults(value),
  ];
}

function anchorFaults(value: unknown): readonly Fault[] {
  const anchor = lookUp(value, ['audit', 'anchor']);
  const nowhere = typeof anchor === 'object' && anchor !== null && lookUp(anchor, ['file']) === undefined && lookUp(anchor, ['syslog']) === undefined;
  return nowhere ? [{ path: ['audit', 'anchor'], message: 'expected where checkpoints are put: file, syslog or both' }] : [];
}
