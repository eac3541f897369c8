import type { Socket } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { createThreadMetrics } from '../src/admin/metrics.ts';
import type { OpenListener } from '../src/bound-listener.ts';
import { createDeviceMaker, deviceSchema } from '../src/config/device.ts';
import type { RaisedAlarm } from '../src/forward/client.ts';
import { createDeviceRegister } from '../src/identity/devices.ts';
import { createIsolation } from '../src/isolation.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { authorizeStream, type StreamPolicy } from '../src/policy/authorize-stream.ts';
import type { KnownAdmission } from '../src/policy/facts.ts';
import { createSweep } from '../src/sweep.ts';
import type { Connection } from '../src/tls/connection.ts';
import { testPki } from './support/pki.ts';

let leaf: Certificate;

beforeAll(async () => {
  leaf = parseCertificate((await testPki()).device.der);
});

/** A stream of a kiosk that is in use on Fridays until seven, as a thread has it open. */
function openStream(now: () => number) {
  const device = createDeviceMaker('Europe/Berlin')(deviceSchema.parse({ id: 'kiosk-7', hours: 'Fri 07:00-19:00' }));
  const policy = {
    allow: new Set(['kiosk']), unavailable: 'deny',
    devices: { register: createDeviceRegister([device]), bindings: new Map([['kiosk', { to: 'device', hardware: 'optional' }]]) },
  } as unknown as StreamPolicy;
  const admission = {
    kind: 'known', leaf, path: [leaf], policies: [], identity: { role: 'kiosk', id: 'kiosk-7', roles: new Set(['kiosk']) }, status: { kind: 'good', source: 'crl', validUntil: Infinity },
    statements: [], epoch: 1, validUntil: Infinity,
  } as unknown as KnownAdmission;
  let ended: string | undefined;
  const socket = { destroyed: false } as Socket;
  const connection = {
    socket, listener: 'mllp', address: '10.1.4.9', admissions: new Map([['', admission]]), underWay: new Set(),
    ending({ reason }: { reason: string }) {
      ended = reason;
      Object.assign(socket, { destroyed: true });
    },
  } as unknown as Connection;
  const listener = {
    runtime: { office: { stands: () => true, realmOf: (name: string) => name }, config: { protocol: 'tcp' }, policy },
    connections: new Map([[socket, connection]]),
    protocol: {
      objection() {
        const decided = authorizeStream(policy, { admission, address: '10.1.4.9', listener: 'mllp', suspensions: [] } as never, now());
        return decided.kind === 'denial' ? decided : undefined;
      },
    },
  } as unknown as OpenListener;
  return { listener, ended: () => ended };
}

describe('the sweep', () => {
  it('ends a stream of a device when its hours end, though nothing has changed', async () => {
    let now = Date.parse('2026-11-20T17:59:59Z');
    const stream = openStream(() => now);
    const alarms: RaisedAlarm[] = [];
    const sweep = createSweep({
      serving: () => [stream.listener], metrics: createThreadMetrics(), isolation: createIsolation({ ofDevice: () => [], ofPerson: () => [] }, () => now), record: () => Promise.resolve(),
      now: () => now, desk: { alarm: (raised: RaisedAlarm) => void alarms.push(raised) } as never,
    });
    sweep();
    await new Promise((resolve) => setImmediate(resolve));
    expect(stream.ended()).toBeUndefined();
    // Seven o'clock in Berlin.
    now += 1_000;
    sweep();
    await expect.poll(stream.ended).toBe('outside_hours');
    expect(alarms).toEqual([{ rule: 'off_hours', certificate: leaf.sha256, address: '10.1.4.9', listener: 'mllp' }]);
  });
});
