import { createPrivateKey } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEstDesk, readClientCert, type EstDesk } from '../src/ca/est/desk.ts';
import { generateKey } from '../src/ca/keys.ts';
import { signApproval } from '../src/ca/office.ts';
import { createRequest } from '../src/ca/request.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { testCa, type TestCa } from './support/ca.ts';

const DAY = 86_400_000;

let ca: TestCa;
let now = Date.now();
let desk: EstDesk;
const certificateOf = (name: string) => parseCertificate(ca.first.get(name)?.entry.der as Buffer);

async function requestOf(certificate: Certificate, extra: readonly { oid: string; value: Uint8Array; critical: boolean }[] = []): Promise<Buffer> {
  const { privateKey } = await generateKey('ec');
  return createRequest(privateKey, { subject: certificate.subject.der, extensions: [...certificate.extensions.filter(({ oid }) => oid === '2.5.29.17'), ...extra] });
}

beforeAll(async () => {
  ca = await testCa(['Kiosk 1', 'Kiosk 2', 'Kiosk 3', 'Kiosk 4', 'security:Chen Jing'], { now: () => now, validity: 90 * DAY, policy: (text) => text.replace('    renewal: automatic', '    renewal: approved ') });
  now += 70 * DAY;
  desk = createEstDesk({ source: ca.office, now: () => now, window: 1 / 3, perHour: 1_000_000 });
});
afterAll(() => ca.remove());

describe('the desk of EST', () => {
  test('has a renewal wait for an approver where the profile says so, and gives it to the same request afterwards', async () => {
    const device = certificateOf('Kiosk 1');
    const csr = await requestOf(device);
    expect(await desk.reenroll(device, csr)).toEqual({ kind: 'pending', retryAfter: 3_600_000 });
    expect((await desk.reenroll(device, csr)).kind).toBe('pending');
    const waiting = ca.office.requests().filter(({ renews }) => renews === device.serial);
    expect(waiting).toHaveLength(1);
    const approver = ca.first.get('Chen Jing');
    ca.office.approve(waiting[0]?.id as string, signApproval(waiting[0] as never, { certificate: approver?.entry.certificate as string, key: createPrivateKey(approver?.key as string) }, now));
    const answer = await desk.reenroll(device, csr);
    expect(answer).toMatchObject({ kind: 'certificates', previous: device.serial });
    const again = await desk.reenroll(device, csr);
    expect(again).toEqual(answer);
  });

  test('turns down what waits when the device asks with another key', async () => {
    const device = certificateOf('Kiosk 2');
    await desk.reenroll(device, await requestOf(device));
    await desk.reenroll(device, await requestOf(device));
    expect(ca.office.requests().filter(({ renews }) => renews === device.serial).map(({ state }) => state)).toEqual(['refused', 'requested']);
  });

  test('does not see what a request would be beside its names: no CA comes of a request for one', async () => {
    const device = certificateOf('Kiosk 3');
    const csr = await requestOf(device, [{ oid: '2.5.29.19', critical: true, value: Buffer.from('30030101ff', 'hex') }]);
    await desk.reenroll(device, csr);
    const waiting = ca.office.requests().findLast(({ renews }) => renews === device.serial);
    const approver = ca.first.get('Chen Jing');
    ca.office.approve(waiting?.id as string, signApproval(waiting as never, { certificate: approver?.entry.certificate as string, key: approver?.key as string }, now));
    const answer = await desk.reenroll(device, csr);
    if (answer.kind !== 'certificates') throw new Error(answer.kind);
    expect(readBundle(answer.der, 2)[0]?.basicConstraints?.ca).not.toBe(true);
  });

  test('answers two requests of one device at once with one certificate at most', async () => {
    const device = certificateOf('Kiosk 4');
    const answers = await Promise.all([desk.reenroll(device, await requestOf(device)), desk.reenroll(device, await requestOf(device))]);
    expect(answers.map(({ kind }) => kind)).toContain('pending');
    expect(ca.office.requests().filter(({ renews, state }) => renews === device.serial && state === 'requested')).toHaveLength(1);
  });

  test('refuses 10,000 requests that were changed on the way, each with a word, and none with a fault', async () => {
    const device = certificateOf('Kiosk 4');
    const good = await requestOf(device);
    const before = ca.office.revision();
    const kinds = new Set<string>();
    const mutation = fc.record({ at: fc.nat(good.length - 1), octet: fc.integer({ min: 1, max: 255 }), drop: fc.nat(2) });
    for (const mutations of fc.sample(fc.array(mutation, { minLength: 1, maxLength: 3 }), 10_000)) {
      const bytes = mutations.reduce((current, { at, octet, drop }) => {
        const index = Math.min(at, current.length - 1);
        return Buffer.concat([current.subarray(0, index), Buffer.of((current[index] ?? 0) ^ octet), current.subarray(index + 1 + drop)]);
      }, good);
      if (bytes.equals(good)) continue;
      const answer = await desk.reenroll(device, bytes);
      kinds.add(answer.kind === 'refused' ? `refused ${answer.status}` : answer.kind);
    }
    expect([...kinds]).toEqual(['refused 400']);
    expect(ca.office.revision()).toBe(before);
  });

  test('knows a device by one byte sequence, and by nothing that only looks like one', () => {
    const { der, sha256 } = certificateOf('Kiosk 1');
    const base64 = Buffer.from(der).toString('base64');
    expect(readClientCert(`:${base64}:`)?.sha256).toBe(sha256);
    for (const text of [undefined, '', base64, `:${base64}`, `:${base64}:, :${base64}:`, `:${base64.slice(0, -4)}:`, ':AAAA:', `: ${base64}:`, `:${base64}:;a=1`]) expect(readClientCert(text)).toBeUndefined();
  });
});
