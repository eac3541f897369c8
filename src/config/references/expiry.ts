import { show, type Fault, type Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { durationAt, items, listKnown, texts } from './plain-values.ts';
import { unknownRoles } from './roles.ts';

/** Who is told of what ends, and what pauses. */
export function expiryFaults(value: unknown): readonly Fault[] {
  const tiers: Path = ['expiry', 'tiers'];
  const lengths = items(value, tiers).map((_, index) => durationAt(value, [...tiers, index, 'before']));
  const channels = namesOf(value, ['alarms', 'channels']);
  return [
    ...lengths.flatMap((length, index): Fault[] => (length !== undefined && lengths.indexOf(length) < index ? [{ path: [...tiers, index, 'before'], message: `there is a tier of this length already: tiers[${lengths.indexOf(length)}]` }] : [])),
    ...lengths.flatMap((_, index) => unknown(value, [...tiers, index, 'channels'], 'alarm channel', channels)),
    ...unknownRoles(value, ['expiry', 'clients', 'except'], []),
    ...unknown(value, ['expiry', 'pause'], 'route', namesOf(value, ['routes'])),
  ];
}

function namesOf(value: unknown, path: Path): readonly string[] {
  return items(value, path).map((item) => lookUp(item, ['name'])).filter((name) => typeof name === 'string');
}

function unknown(value: unknown, path: Path, what: string, known: readonly string[]): Fault[] {
  return texts(value, path).flatMap(({ text, place }): Fault[] => (known.includes(text) ? [] : [{ path: place, message: `no ${what} named ${show(text)}; ${listKnown(known)}` }]));
}
