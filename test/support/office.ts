import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCsr } from '../../src/ca/csr.ts';
import { foundCa, type FirstCertificate, type FirstIssued, type FoundOptions } from '../../src/ca/found.ts';
import { generateKey, type KeyPair, type KeyType } from '../../src/ca/keys.ts';
import { openOffice, signApproval, type CaRequest, type Office, type RequestOrder } from '../../src/ca/office.ts';

/** Cheap to guess at, and to open: for tests alone. */
export const KEY_COST = { N: 1024, r: 8, p: 1 };
export const PASSPHRASE = 'the passphrase of a test';
export const ROOT_PASSPHRASE = 'the passphrase of a root';

export interface TestCa {
  readonly directory: string;
  readonly rootDirectory: string;
  /** In the same temporary directory. */
  path(name: string): string;
  readonly first: readonly FirstIssued[];
  /** What was made for a name. */
  of(name: string): FirstIssued;
  /** Opens it; `at` is a clock. */
  open(at?: () => number, passphrase?: string | null): Office;
  /** Signs for a request as one of the first approvers, and hands it in. */
  approve(office: Office, id: string, by?: string, at?: number): CaRequest;
  remove(): void;
}

/** A small hospital's CA: a registrar (Li Na), a security officer (Chen Jing), a doctor (Dr Wang), a device and a server. */
export async function testCa(more: readonly FirstCertificate[] = [], options: Partial<FoundOptions> = {}): Promise<TestCa> {
  const home = mkdtempSync(join(tmpdir(), 'wardgate-office-'));
  const path = (name: string): string => join(home, name);
  const directory = path('ca');
  const rootDirectory = path('root');
  const first = await foundCa({
    directory, rootDirectory, organization: 'Hospital', domain: 'hospital.test', passphrase: PASSPHRASE, rootPassphrase: ROOT_PASSPHRASE, who: 'founder', witness: 'Wu Fang', keyCost: KEY_COST,
    certificates: [
      { profile: 'registrar', name: 'Li Na' }, { profile: 'security', name: 'Chen Jing' }, { profile: 'doctor', name: 'Dr Wang' }, { profile: 'device', name: 'Kiosk 7', id: 'kiosk-7.devices.hospital.test' },
      { profile: 'server', name: 'api.hospital.test', names: { dns: ['localhost'], ip: ['127.0.0.1'] } }, ...more,
    ],
    ...options,
  });
  const of = (name: string): FirstIssued => {
    const found = first.find(({ entry }) => entry.name === name);
    if (found === undefined) throw new Error(`nothing was made for ${name}`);
    return found;
  };
  return {
    directory, rootDirectory, path, first, of,
    open: (now = Date.now, passphrase = PASSPHRASE) => openOffice({ directory, now, keyCost: KEY_COST, ...(passphrase === null ? {} : { passphrase }) }),
    approve(office, id, by = 'Li Na', at = Date.now()) {
      const { entry, key } = of(by);
      return office.approve(id, signApproval(office.request(id), { certificate: entry.certificate, key }, at));
    },
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}

/** A request for a doctor, some of it changed. */
export function order(change: Partial<RequestOrder> = {}): RequestOrder {
  return { profile: 'doctor', name: 'Dr Chen', key: { kind: 'made' }, applicant: { name: 'Ward 3' }, purpose: 'rounds on ward 3', system: 'records', ...change };
}

export async function csr(type: KeyType = 'ec', pair?: KeyPair): Promise<{ readonly kind: 'csr'; readonly csr: string; readonly pair: KeyPair }> {
  const made = pair ?? await generateKey(type);
  return { kind: 'csr', csr: await makeCsr(made.privateKey, [['CN', 'whoever']]), pair: made };
}
