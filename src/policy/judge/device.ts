import type { Breakable } from '../break-glass.ts';
import { deny, type Denial, type Step } from '../decision.ts';
import { describeDevice, judgeDevice, type DevicePolicy, type DeviceVerdict } from '../devices.ts';
import type { KnownAdmission, Reason } from '../facts.ts';
import type { Route } from '../routes.ts';
import { unlessBroken, type Glass } from './glass.ts';

/** Which registered device a client uses; `free` where its roles are bound to none. */
export function bindDevice(devices: DevicePolicy | undefined, { identity, leaf }: KnownAdmission, address: string, now: number): DeviceVerdict {
  if (devices === undefined || identity === undefined) return { kind: 'free' };
  return judgeDevice(devices, { roles: identity.roles, id: identity.id, leaf, address }, now);
}

/** `glass`: what the client may break of the route. */
export function judgeBound(verdict: DeviceVerdict | undefined, glass?: Glass, route?: Route, trace?: (step: Step) => void): Denial | undefined {
  if (verdict?.kind === 'bound') trace?.({ rule: 'device', outcome: 'pass', detail: describeDevice(verdict.device) });
  if (verdict?.kind !== 'refused') return undefined;
  return unlessBroken(glass, BROKEN_OF_DEVICES[verdict.reason], { ...deny('device', 'role_denied', verdict.reason, verdict.detail, trace, route), alarm: verdict.alarm });
}

/** A device that is not registered, or not that one, is none in an emergency either. */
const BROKEN_OF_DEVICES: Readonly<Partial<Record<Reason, Breakable>>> = { device_moved: 'networks', outside_hours: 'hours' };
