import { z } from 'zod';
import { createDeviceMaker, deviceSchema, type Device } from '../../config/device.ts';
import { formatPath } from '../../config/issue.ts';
import { schemaFaults } from '../../config/schema-faults.ts';

/** What a system tells. `at` is when it happened there: ISO 8601 in UTC, with milliseconds. */
export type WebhookEvent = HrEvent | CmdbEvent;

interface Told {
  /** Given by the sender: the same event has the same, however often it is sent. */
  readonly id: string;
  readonly at: string;
  readonly reason: string;
}

/** `persons` are the ids that roles give them: one person may have several. */
export type HrEvent = Told & (
  | { readonly event: 'leave' | 'return'; readonly persons: readonly string[] }
  | { readonly event: 'transfer'; readonly persons: readonly string[]; readonly roles: readonly string[] }
);

export type CmdbEvent = Told & (
  | { readonly event: 'register' | 'update'; readonly device: Device }
  | { readonly event: 'scrap' | 'remove'; readonly device: string }
);

/** An event whose sender is known: `webhook` is the sender's name in the configuration. */
export interface ToldEvent {
  readonly webhook: string;
  readonly event: WebhookEvent;
  /** Of the request that brought it. */
  readonly requestId: string;
}

/** What became of an event. `superseded`: something later is known of what it is about. */
export type WebhookOutcome =
  | { readonly kind: 'applied' | 'duplicate' | 'superseded' }
  | { readonly kind: 'conflict' | 'invalid'; readonly detail: string };

export type ReadEvent =
  | { readonly kind: 'event'; readonly event: WebhookEvent }
  | { readonly kind: 'invalid'; readonly faults: readonly string[] };

// eslint-disable-next-line no-control-regex
const text = (most: number) => z.string({ error: 'expected text' }).regex(new RegExp(`^(?!\\s)[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\p{Cs}]{1,${most}}(?<!\\s)$`, 'u'), { error: `expected text of ${most} characters at most, without blanks around it` });
const TIME_EXPECTED = 'expected a time such as 2026-11-22T09:30:00Z';
const person = text(256);
const told = {
  id: text(128),
  at: z.iso.datetime({ offset: true, error: TIME_EXPECTED }).transform((value) => new Date(value).toISOString())
    // Times are compared as texts, and those of other millennia have another form. Who is ahead of now is for those to say who have a clock.
    .refine((value) => /^(?:19[7-9]|2\d\d)\d-/.test(value), { error: TIME_EXPECTED }),
  reason: text(500).default('none given'),
};
const persons = { person: z.union([person.transform((one) => [one]), z.array(person, { error: 'expected ids of a person' }).min(1, { error: 'expected ids of a person' }).max(20, { error: 'expected 20 ids at most' })], { error: 'expected the id of a person, or a list of ids' }) };
const roles = { roles: z.array(text(63), { error: 'expected a list of roles' }).min(1, { error: 'expected a list of at least one role' }).max(20, { error: 'expected 20 roles at most' }) };

function form<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, { error: (issue) => (issue.code === 'unrecognized_keys' ? known : undefined) });
}

function oneOf<const Forms extends readonly [z.core.$ZodTypeDiscriminable, ...z.core.$ZodTypeDiscriminable[]]>(forms: Forms, names: string) {
  return z.discriminatedUnion('event', forms, { error: (issue) => (issue.code === 'invalid_union' ? `expected ${names}` : undefined) });
}

const FORMS = {
  hr: oneOf([
    form({ ...told, event: z.literal('leave'), ...persons }), form({ ...told, event: z.literal('return'), ...persons }), form({ ...told, event: z.literal('transfer'), ...persons, ...roles }),
  ], 'leave, return or transfer'),
  cmdb: oneOf([
    form({ ...told, event: z.literal('register'), device: deviceSchema }), form({ ...told, event: z.literal('update'), device: deviceSchema }),
    form({ ...told, event: z.literal('scrap'), device: text(256) }), form({ ...told, event: z.literal('remove'), device: text(256) }),
  ], 'register, update, scrap or remove'),
};

const MOST_FAULTS = 20;

/** Reads an event from the JSON of a body, strictly; `zone` is where hours of devices are meant that name no zone. */
export function readEvent(kind: 'hr' | 'cmdb', body: Uint8Array, zone: string): ReadEvent {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return { kind: 'invalid', faults: ['expected JSON in UTF-8'] };
  }
  const parsed = FORMS[kind].safeParse(value);
  if (!parsed.success) {
    const faults = schemaFaults(parsed.error.issues, value).map(({ path, message }) => `${path.length === 0 ? 'event' : formatPath(path)}: ${message}`);
    return { kind: 'invalid', faults: [...new Set(faults)].slice(0, MOST_FAULTS) };
  }
  const { data } = parsed;
  switch (data.event) {
    case 'leave': case 'return': case 'transfer': {
      const { person: ids, ...rest } = data;
      return { kind: 'event', event: { ...rest, persons: ids } };
    }
    case 'register': case 'update': return { kind: 'event', event: { ...data, device: createDeviceMaker(zone)(data.device) } };
    case 'scrap': case 'remove': return { kind: 'event', event: data };
  }
}
