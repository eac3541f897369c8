import { show, type Fault, type Path } from '../issue.ts';
import { alarmRules } from '../schema/alarms.ts';
import { lookUp } from '../schema-faults.ts';
import { halfPairs } from './key-pairs.ts';
import { items, keys, listKnown, texts } from './plain-values.ts';
import { unknownRoles } from './roles.ts';

const RULES = Object.keys(alarmRules.unwrap().shape);
/** What channels may choose: `expiry` stands for warnings of what ends. */
const CHOSEN = [...RULES, 'expiry'];

/** Rules of alarms and who is told. */
export function alarmFaults(value: unknown): readonly Fault[] {
  const rules: Path = ['alarms', 'rules'];
  const hours = [...rules, 'off_hours', 'hours'];
  return [
    ...unknownRoles(value, ['alarms', 'apart'], []),
    ...keys(value, rules).flatMap((rule) => unknownRoles(value, [...rules, rule, 'exempt', 'roles'], [])),
    ...keys(value, hours).flatMap((role) => unknownRoles({ ...value as object, role: [role] }, ['role'], []).map(({ message }): Fault => ({ path: [...hours, role], at: 'key', message }))),
    ...channelFaults(value),
  ];
}

function channelFaults(value: unknown): readonly Fault[] {
  const channels: Path = ['alarms', 'channels'];
  const names = items(value, channels).map((channel) => lookUp(channel, ['name']));
  return names.flatMap((name, index): Fault[] => {
    const path = [...channels, index];
    const earlier = names.indexOf(name);
    const [user, password] = [lookUp(value, [...path, 'user']), lookUp(value, [...path, 'password_file'])];
    return [
      ...(typeof name === 'string' && earlier < index ? [{ path: [...path, 'name'], message: `the name ${show(name)} is taken by alarms.channels[${earlier}]` }] : []),
      ...halfPairs(value, [...path, 'tls'], 'tls.'),
      ...(user !== undefined && password === undefined ? [{ path: [...path, 'user'], message: 'expected the password beside it, in password_file' }] : []),
      ...(user === undefined && password !== undefined ? [{ path: [...path, 'password_file'], message: 'expected who logs in beside it, in user' }] : []),
      ...texts(value, [...path, 'rules']).flatMap(({ text, place }): Fault[] => (CHOSEN.includes(text) ? [] : [{ path: place, message: `no rule named ${show(text)}; ${listKnown(CHOSEN)}` }])),
    ];
  });
}
