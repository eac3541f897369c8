import { resolve } from 'node:path';
import type { Snapshot } from '../../config/snapshot.ts';
import { createDeviceRegister, type DeviceView } from '../../identity/devices.ts';
import { idsOf } from '../../isolation.ts';
import type { Admission } from '../../policy/facts.ts';
import { compileIsolations, isolationOf, type Isolation } from '../../policy/isolations.ts';
import { readSuspensions } from '../../store/suspensions.ts';

interface Asked {
  readonly admission: Admission;
  readonly address: string;
  readonly register: DeviceView | undefined;
}

/** By which isolation a client's connection would be closed, according to the state directory at `now` (ms since the epoch). */
export function isolationIn({ config, directory }: Snapshot, { admission, address, register = createDeviceRegister() }: Asked, now: number): Isolation | undefined {
  return isolationOf(compileIsolations(readSuspensions(resolve(directory, config.state), now)), { address, ids: idsOf({ admissions: new Map([['', admission]]) }, register) }, now);
}
