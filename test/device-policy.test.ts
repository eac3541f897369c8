import { beforeAll, describe, expect, it } from 'vitest';
import { deviceSchema, createDeviceMaker, type Device } from '../src/config/device.ts';
import { createDeviceRegister } from '../src/identity/devices.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { formatName } from '../src/pki/name.ts';
import { twinOf } from '../src/pki/twin.ts';
import { judgeDevice, type DeviceVerdict } from '../src/policy/devices.ts';
import type { BindConfig } from '../src/config/schema.ts';
import { testPki, type CertificateOptions, type TestPki } from './support/pki.ts';
import { processorTime } from './support/timing.ts';

let pki: TestPki;
let kiosk: Certificate;
let doctor: Certificate;

const MODULE = '1.3.6.1.4.1.99999.7';
const FRIDAY_NOON = Date.parse('2026-11-20T12:00:00Z');

async function issue(options: CertificateOptions): Promise<Certificate> {
  return parseCertificate((await pki.issueClient(options)).der);
}

beforeAll(async () => {
  pki = await testPki();
  kiosk = await issue({ subject: [['CN', 'Kiosk 7']], san: { hardwareModuleName: { type: MODULE, serial: Buffer.from('SN-42').toString('hex') } } });
  doctor = await issue({ subject: [['CN', 'Dr Wang'], ['SERIALNUMBER', 'E-4711']] });
});

const make = createDeviceMaker('UTC');
const device = (written: object): Device => make(deviceSchema.parse(written));

interface Case {
  readonly leaf?: Certificate;
  readonly id?: string;
  readonly address?: string;
  readonly bind?: BindConfig;
  readonly now?: number;
}

function judge(devices: readonly object[], { leaf = kiosk, id = 'kiosk-7', address = '10.1.4.9', bind = { to: 'device', hardware: 'optional' }, now = FRIDAY_NOON }: Case = {}): DeviceVerdict {
  const policy = { register: createDeviceRegister(devices.map(device)), bindings: new Map([['kiosk', bind]]) };
  return judgeDevice(policy, { roles: new Set(['kiosk']), id, leaf, address }, now);
}

const outcome = (verdict: DeviceVerdict): string => (verdict.kind === 'bound' ? `bound to ${verdict.device.id}` : verdict.kind === 'refused' ? verdict.reason : 'free');

describe('a device', () => {
  it.each<[string, readonly object[], Case, string]>([
    ['that nobody registered', [], {}, 'device_unregistered'],
    ['that is another than those registered', [{ id: 'kiosk-8' }], {}, 'device_unregistered'],
    ['by its id, in whatever case', [{ id: 'KIOSK-7' }], {}, 'bound to KIOSK-7'],
    ['by its hardware', [{ id: 'asset 1', hardware: 'SN-42' }], {}, 'bound to asset 1'],
    ['by its hardware, as octets', [{ id: 'asset 1', hardware: 'hex:53:4e:2d:34:32' }], {}, 'bound to asset 1'],
    ['with the hardware of another', [{ id: 'kiosk-7', hardware: 'SN-43' }], {}, 'device_mismatch'],
    ['that is lost', [{ id: 'kiosk-7', state: 'lost' }], {}, 'device_inactive'],
    ['that is scrapped', [{ id: 'kiosk-7', state: 'scrapped' }], {}, 'device_inactive'],
    ['whose hardware is lost, under an id that is registered without any', [{ id: 'asset 1', hardware: 'SN-42', state: 'lost' }, { id: 'kiosk-7' }], {}, 'device_inactive'],
    ['whose hardware was scrapped, and registered anew', [{ id: 'asset 1', hardware: 'SN-42', state: 'scrapped' }, { id: 'kiosk-7', hardware: 'SN-42' }], {}, 'bound to kiosk-7'],
    ['whose hardware rests, under another id', [{ id: 'asset 1', hardware: 'SN-42', state: 'inactive' }, { id: 'kiosk-7' }], {}, 'bound to kiosk-7'],
    ['in its network', [{ id: 'kiosk-7', networks: ['10.1.4.0/24', 'fd00::/8'] }], {}, 'bound to kiosk-7'],
    ['in another network', [{ id: 'kiosk-7', networks: '10.1.5.0/24' }], {}, 'device_moved'],
    ['by IPv6', [{ id: 'kiosk-7', networks: 'fd00::/8' }], { address: 'fd12::7' }, 'bound to kiosk-7'],
    ['at an address that is none', [{ id: 'kiosk-7', networks: '0.0.0.0/0' }], { address: '' }, 'device_moved'],
    ['within its hours', [{ id: 'kiosk-7', hours: 'Mon-Fri 07:00-19:00' }], {}, 'bound to kiosk-7'],
    ['outside its hours', [{ id: 'kiosk-7', hours: 'Mon-Fri 07:00-19:00', timezone: 'Asia/Shanghai' }], {}, 'outside_hours'],
    ['of which the better entry counts', [{ id: 'kiosk-7', state: 'lost' }, { id: 'spare', hardware: 'SN-42' }], {}, 'bound to spare'],
    ['that nearly fits is refused for what is missing', [{ id: 'kiosk-7', state: 'lost' }, { id: 'spare', hardware: 'SN-42', hours: 'Sat 07:00-19:00' }], {}, 'outside_hours'],
  ])('%s', (_name, devices, facts, expected) => {
    expect(outcome(judge(devices, facts))).toBe(expected);
  });

  it('whose certificate is lost does not come by its id alone with the other form of that (r, n - s)', () => {
    const twin = parseCertificate(twinOf(kiosk) as Buffer);
    const devices = [{ id: 'asset 1', fingerprint: kiosk.sha256, state: 'lost' }, { id: 'kiosk-7' }];
    expect([kiosk, twin].map((leaf) => outcome(judge(devices, { leaf })))).toEqual(['device_inactive', 'device_inactive']);
  });

  it('may be registered with its certificates, and then with no other', () => {
    const issuer = formatName(kiosk.issuer);
    for (const pins of [{ fingerprint: kiosk.sha256 }, { key: kiosk.spkiSha256 }, { serial: kiosk.serial, issuer }, { serial: kiosk.serial, issuer: issuer.split(',').reverse().join(',') }]) {
      expect(outcome(judge([{ id: 'asset 1', ...pins }]))).toBe('bound to asset 1');
      expect(outcome(judge([{ id: 'asset 1', ...pins }], { leaf: doctor }))).toBe('device_unregistered');
      expect(outcome(judge([{ id: 'kiosk-7', ...pins }], { leaf: doctor }))).toBe('device_mismatch');
    }
    expect(outcome(judge([{ id: 'kiosk-7', serial: kiosk.serial, issuer: 'CN=Another CA' }]))).toBe('device_mismatch');
  });

  it('is not served by its id with a certificate that is listed as lost', () => {
    const lost = { id: 'old', fingerprint: kiosk.sha256, state: 'lost' };
    expect(outcome(judge([lost, { id: 'kiosk-7' }]))).toBe('device_inactive');
    expect(outcome(judge([{ ...lost, state: 'scrapped' }, { id: 'kiosk-7', hardware: 'SN-42' }]))).toBe('device_inactive');
    expect(outcome(judge([lost, { id: 'kiosk-7', key: kiosk.spkiSha256 }]))).toBe('bound to kiosk-7');
  });

  it('has to name its hardware where the role says so', async () => {
    const bind = { to: 'device', hardware: 'required' } as const;
    const silent = await issue({ subject: [['CN', 'Kiosk 7']] });
    expect(outcome(judge([{ id: 'kiosk-7', hardware: 'SN-42' }], { bind }))).toBe('bound to kiosk-7');
    expect(outcome(judge([{ id: 'kiosk-7' }], { bind }))).toBe('device_mismatch');
    expect(outcome(judge([{ id: 'kiosk-7', hardware: 'SN-42' }], { bind, leaf: silent }))).toBe('device_mismatch');
    expect(outcome(judge([{ id: 'kiosk-7', hardware: 'SN-42' }], { leaf: silent }))).toBe('bound to kiosk-7');
  });

  it('names its hardware in one of three ways, the most exact first', async () => {
    const permanent = await issue({ subject: [['CN', 'K'], ['SERIALNUMBER', 'S1']], san: { permanentIdentifier: { value: 'P1', assigner: MODULE } } });
    const initial = await issue({ subject: [['CN', 'K'], ['SERIALNUMBER', 'S1']] });
    const two = await issue({ subject: [['CN', 'K']], san: { hardwareModuleName: [{ type: MODULE, serial: '01ff' }, { type: MODULE, serial: '02ff' }] } });
    expect(outcome(judge([{ id: 'a', hardware: 'p1' }], { leaf: permanent }))).toBe('bound to a');
    expect(outcome(judge([{ id: 'a', hardware: 's1' }], { leaf: permanent }))).toBe('device_unregistered');
    expect(outcome(judge([{ id: 'a', hardware: 's1' }], { leaf: initial }))).toBe('bound to a');
    expect(outcome(judge([{ id: 'a', hardware: 'hex:01ff' }], { leaf: two }))).toBe('device_mismatch');
  });
});

describe('a person', () => {
  const workstation: BindConfig = { to: 'workstation', hardware: 'optional' };
  const ward = { id: 'ws-4', users: ['Dr Wang', 'Dr Li'], networks: '10.1.4.9', fingerprint: 'ab'.repeat(32), hardware: 'TPM-4' };

  it.each<[string, readonly object[], Case, string]>([
    ['at one of their workstations', [{ ...ward, id: 'ws-3', networks: '10.1.3.9' }, ward], {}, 'bound to ws-4'],
    ['at the workstation of others', [{ ...ward, users: 'Dr Li' }], {}, 'device_unregistered'],
    ['elsewhere', [ward], { address: '10.1.4.10' }, 'device_moved'],
    ['at one that is lost', [{ ...ward, state: 'lost' }], {}, 'device_inactive'],
    ['whose certificate is registered with one', [{ ...ward, users: [], fingerprint: 'DOCTOR' }], {}, 'bound to ws-4'],
    // Who has the name of a workstation has no workstation.
    ['who is called like one', [{ ...ward, users: ['Dr Li'], id: 'Dr Wang' }], {}, 'device_unregistered'],
    // The serial number in a person's name is the person's.
    ['whose number is the hardware of a device', [{ ...ward, users: ['Dr Li'], hardware: 'E-4711' }], {}, 'device_unregistered'],
    ['whose number is not that of the hardware', [ward], {}, 'bound to ws-4'],
  ])('%s', (_name, devices, facts, expected) => {
    const written = devices.map((one) => ({ ...one, ...('fingerprint' in one && one.fingerprint === 'DOCTOR' ? { fingerprint: doctor.sha256 } : {}) }));
    expect(outcome(judge(written, { leaf: doctor, id: 'dr  wang', bind: workstation, ...facts }))).toBe(expected);
  });

  it('whose key is in a workstation\'s module is bound to that workstation', async () => {
    const module = await issue({ subject: [['CN', 'Dr Wang']], san: { hardwareModuleName: { type: MODULE, serial: Buffer.from('TPM-4').toString('hex') } } });
    const facts = { leaf: module, id: 'Dr Wang', bind: workstation };
    expect(outcome(judge([{ id: 'ws-4', hardware: 'TPM-4' }], facts))).toBe('bound to ws-4');
    expect(outcome(judge([{ id: 'ws-4', hardware: 'TPM-4', users: 'Dr Li' }], facts))).toBe('device_mismatch');
    expect(outcome(judge([{ id: 'ws-4', hardware: 'TPM-4', fingerprint: 'ab'.repeat(32) }], facts))).toBe('device_mismatch');
    expect(outcome(judge([{ id: 'ws-4', hardware: 'TPM-4', fingerprint: module.sha256 }], facts))).toBe('bound to ws-4');
    expect(outcome(judge([{ id: 'ws-5', hardware: 'TPM-5', users: 'Dr Wang' }], facts))).toBe('device_mismatch');
    // Stolen, and taken for their other workstation, whose hardware nobody wrote down.
    const stolen = { id: 'ws-4', hardware: 'TPM-4', users: 'Dr Wang', state: 'lost' };
    expect(outcome(judge([{ id: 'ws-5', users: 'Dr Wang' }], facts))).toBe('bound to ws-5');
    expect(outcome(judge([stolen, { id: 'ws-5', users: 'Dr Wang' }], facts))).toBe('device_inactive');
    expect(outcome(judge([stolen, { id: 'ws-5', users: 'Dr Wang' }], { ...facts, leaf: doctor }))).toBe('bound to ws-5');
  });
});

describe('the register', () => {
  it('forgets what a device was when it changes or goes', () => {
    const register = createDeviceRegister([device({ id: 'a', fingerprint: kiosk.sha256, users: 'x' }), device({ id: 'b', fingerprint: kiosk.sha256 })]);
    const ids = (): string[] => register.ofDevice(kiosk, 'nobody').map(({ id }) => id);
    expect(ids()).toEqual(['a', 'b']);
    register.put(device({ id: 'A', users: 'y' }));
    expect(ids()).toEqual(['b']);
    expect(register.ofPerson(doctor, 'x')).toEqual([]);
    expect(register.ofPerson(doctor, 'Y').map(({ id }) => id)).toEqual(['A']);
    register.remove('B');
    expect([ids(), register.size]).toEqual([[], 1]);
  });

  it('finds one of 100,000 devices as fast as one of ten', () => {
    const one = device({ id: 'x' });
    const many = createDeviceRegister(Array.from({ length: 100_000 }, (_, index) => ({ ...one, id: `device-${index}`, hardware: `sn-${index}` })));
    const policy = { register: many, bindings: new Map([['kiosk', { to: 'device', hardware: 'optional' } as const]]) };
    // A look through all of them would take minutes.
    expect(processorTime(() => {
      for (let index = 0; index < 10_000; index++) judgeDevice(policy, { roles: new Set(['kiosk']), id: `device-${index * 10}`, leaf: kiosk, address: '10.1.4.9' }, FRIDAY_NOON);
    })).toBeLessThan(5_000);
  });
});
