import { z } from 'zod';
import { networkFault } from '../../config/addresses.ts';
import { call, done, explainedCall, plainCall, reason, text, time, type AdminCall, type Origin } from '../call.ts';
import { cutOff, doneTo, own } from '../own-certificate.ts';
import { denySubjects } from './denials.ts';

/** How far what was drained has come. */
export interface DrainReport {
  readonly draining: readonly { /** Absent: all of them. */ readonly listener?: string; readonly who: string; readonly since: string }[];
  /** Those that take nothing new. */
  readonly listeners: readonly string[];
  readonly connections: number;
  readonly under_way: number;
}

/** What is isolated beside certificates, which the deny list has: a network or a device. */
export interface IsolationScope {
  readonly network?: string;
  readonly device?: string;
}

/** What people on call do to a gateway. */
export interface IncidentTarget {
  foresee(subject: z.output<typeof hit>, origin: Origin | undefined): Promise<unknown>;
  /** Whether it would cut off who asks, and which operators; whoever cannot be looked at in time is not among them. Never rejects. */
  operatorsHit(subject: z.output<typeof hit>, origin: Origin | undefined): Promise<{ readonly own: boolean; readonly warnings: readonly string[] }>;
  /** In force on every thread, durable, and its open connections ended, when it resolves. */
  isolate(order: IsolationScope & { readonly reason: string; readonly who: string; readonly expires?: string }): Promise<void>;
  /** False when it was not isolated. */
  lift(scope: IsolationScope, who: string): Promise<boolean>;
  /** Takes nothing new on a listener, or on all but the admin's. */
  drain(listener: string | undefined, who: string): Promise<DrainReport>;
  /** False when it was not drained. Without a listener: whatever was. */
  undrain(listener: string | undefined): Promise<boolean>;
  drains(): Promise<DrainReport>;
  /** What would be drained. */
  foreseeDrain(listener: string | undefined): Promise<Omit<DrainReport, 'draining'>>;
}

const network = text.refine((value) => networkFault(value) === undefined, { error: 'expected a network such as 10.1.0.0/16' });
const networkHit = z.strictObject({ kind: z.literal('network'), network });
const deviceHit = z.strictObject({ kind: z.literal('device'), device: text });
const hit = z.discriminatedUnion('kind', [...denySubjects, networkHit, deviceHit]);
const isolated = { network: network.exactOptional(), device: text.describe('Its id in the inventory, or that its certificate gives it.').exactOptional() };
const one = ({ network: net, device }: IsolationScope): boolean => (net === undefined) !== (device === undefined);
const ONE = { error: 'expected one of network and device' };
const client = z.looseObject({ address: z.string(), connections: z.int() });
const drained = z.strictObject({
  draining: z.array(z.strictObject({ listener: z.string().exactOptional(), who: z.string(), since: z.string() })), listeners: z.array(z.string()), connections: z.int(), under_way: z.int(),
});
const listener = { listener: text.describe('Absent: all but the admin listener.').exactOptional() };

const drainedWhat = ({ listener: name }: { readonly listener?: string }): string | undefined => (name === undefined ? undefined : `listener ${name}`);

/** Calls for those on call. */
export const INCIDENT_CALLS: readonly AdminCall[] = [
  call({
    method: 'POST', path: '/v1/foresee', summary: 'Whom it would hit to deny a certificate or to isolate a network or device; changes nothing', role: 'read_only', input: hit,
    output: z.looseObject({ connections: z.int(), under_way: z.int(), of: z.int(), clients: z.array(client), roles: z.record(z.string(), z.int()), routes: z.record(z.string(), z.int()), warnings: z.array(z.string()) }),
    answer: ({ incident }, subject, _who, _role, origin) => incident.foresee(subject, origin),
  }),
  call({
    method: 'POST', path: '/v1/isolate', summary: 'Closes every connection of a network or device, open ones too; in force on every thread when it answers', role: 'operator',
    input: z.strictObject({ ...isolated, reason, expires: time.exactOptional(), own }).refine(one, ONE), output: doneTo('isolated'),
    async answer({ incident }, { own: meant, ...order }, who, _role, origin) {
      const subject = order.network === undefined ? { kind: 'device' as const, device: order.device ?? '' } : { kind: 'network' as const, network: order.network };
      return { isolated: true, ...await cutOff(incident, subject, { meant, origin }, () => incident.isolate({ ...order, who })) };
    },
  }),
  explainedCall({
    method: 'POST', path: '/v1/isolate/lift', summary: 'Lets a network or device in again', role: 'operator', gives: true, input: z.strictObject({ ...isolated, reason }).refine(one, ONE), output: done('lifted'),
    answer: async ({ incident }, scope, who) => ({ lifted: await incident.lift(scope, who) }),
  }),
  call({
    method: 'POST', path: '/v1/drain/foresee', summary: 'What a drain would let finish; changes nothing', role: 'read_only', input: z.strictObject(listener), output: drained.omit({ draining: true }),
    answer: ({ incident }, { listener: name }) => incident.foreseeDrain(name),
  }),
  plainCall({ method: 'GET', path: '/v1/drain', summary: 'What takes nothing new, and what is still open there', role: 'read_only', output: drained, answer: ({ incident }) => incident.drains() }),
  explainedCall({
    method: 'POST', path: '/v1/drain', summary: 'Takes no new connections, and lets what is under way finish; /readyz says so', role: 'operator', input: z.strictObject({ ...listener, reason }), output: drained, about: drainedWhat,
    answer: ({ incident }, { listener: name }, who) => incident.drain(name, who),
  }),
  explainedCall({
    method: 'POST', path: '/v1/drain/undo', summary: 'Takes new connections again', role: 'operator', input: z.strictObject({ ...listener, reason }), output: done('undone'), about: drainedWhat,
    answer: async ({ incident }, { listener: name }) => ({ undone: await incident.undrain(name) }),
  }),
];
