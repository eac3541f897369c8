import { describe, expect, it } from 'vitest';
import type { Config } from '../src/config/schema.ts';
import { compileToldScopes, type Teller } from '../src/identity/told-scopes.ts';

const WEBHOOKS = { hr: { kind: 'hr' }, cmdb: { kind: 'cmdb' } };

function concerned(roles: readonly string[], webhooks: object = WEBHOOKS): readonly Teller[] {
  const config = {
    webhooks, roles: [{ role: 'doctor' }, { role: 'reader' }, { role: 'nurse', bind: { to: 'workstation' } }, { role: 'patient' }, { role: 'pump', bind: { to: 'device' } }],
    routes: [{ name: 'a' }, { name: 'b', patient: { bound: ['patient'] } }],
  } as unknown as Config;
  const scopes = compileToldScopes(config);
  return (['hr', 'cmdb'] as const).filter((teller) => scopes[teller]({ role: roles[0] ?? '', roles: new Set(roles) }));
}

describe('without a scope of its own', () => {
  it.each<[string, readonly string[], readonly Teller[]]>([
    ['HR tells of persons', ['doctor'], ['hr']],
    ['HR tells of persons at workstations', ['nurse'], ['hr']],
    ['HR tells of no patients', ['patient', 'reader'], []],
    ['HR tells of no devices, whatever they inherit', ['pump', 'reader'], ['cmdb']],
    ['a CMDB tells of whoever has to be a device, and HR of whoever is a person first', ['doctor', 'pump'], ['hr', 'cmdb']],
  ])('%s', (_name, roles, tellers) => {
    expect(concerned(roles)).toEqual(tellers);
    // What was told stays told when nobody tells any more.
    expect(concerned(roles, {})).toEqual(tellers);
  });
});

describe('a scope', () => {
  it('says of whom a webhook tells', () => {
    const webhooks = { hr: { kind: 'hr', within: ['reader'] }, cmdb: { kind: 'cmdb', within: ['patient'] } };
    expect([['doctor'], ['doctor', 'reader'], ['patient'], ['pump']].map((roles) => concerned(roles, webhooks))).toEqual([[], ['hr'], ['cmdb'], []]);
  });

  it('adds to those of others of its kind', () => {
    const webhooks = { hr: { kind: 'hr', within: ['doctor'] }, agency: { kind: 'hr', within: ['reader'] } };
    expect([['doctor'], ['reader'], ['nurse']].map((roles) => concerned(roles, webhooks))).toEqual([['hr'], ['hr'], []]);
  });
});
