import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { foundCa, type FirstIssued } from '../../src/ca/found.ts';
import { openOffice, type Office } from '../../src/ca/office.ts';
import { initialPolicy } from '../../src/ca/policy.ts';

const PASSPHRASE = 'a passphrase of the issuing CA';

export interface TestCa {
  readonly directory: string;
  readonly office: Office;
  /** By their names. */
  readonly first: ReadonlyMap<string, FirstIssued>;
  readonly passphrase: string;
  /** Path of a file in a directory of its own. */
  path(name: string): string;
  write(name: string, content: string | Uint8Array): Promise<string>;
  remove(): void;
}

/** A CA with a server `localhost` and devices (or `PROFILE:NAME`) that were issued with it, in a directory of its own; keys are cheap to guess at, as nothing is behind them. */
export async function testCa(devices: readonly string[], options: { readonly now?: () => number; readonly policy?: (text: string) => string; readonly validity?: number } = {}): Promise<TestCa> {
  const base = mkdtempSync(join(tmpdir(), 'wardgate-ca-'));
  const directory = join(base, 'ca');
  const keyCost = { N: 2, r: 8, p: 1 };
  const names = { organization: 'Hospital', domain: 'hospital.test' };
  const now = options.now === undefined ? {} : { now: options.now };
  const first = await foundCa({
    ...names, ...now, directory, rootDirectory: join(base, 'root'), passphrase: PASSPHRASE, rootPassphrase: 'a passphrase of the root', who: 'founder', keyCost,
    policy: options.policy?.(initialPolicy(names)) ?? initialPolicy(names), ...(options.validity === undefined ? {} : { validity: { leaf: options.validity } }),
    certificates: [
      { profile: 'server', name: 'localhost', names: { ip: ['127.0.0.1'] } },
      ...devices.map((text) => {
        const [name = '', profile = 'device'] = text.split(':').toReversed();
        return profile === 'device' ? { profile, name, id: `${name.toLowerCase().replace(' ', '-')}.devices.hospital.test` } : { profile, name };
      }),
    ],
  });
  const office = openOffice({ directory, passphrase: PASSPHRASE, ...now, keyCost });
  const path = (name: string): string => join(base, name);
  return {
    directory, office, passphrase: PASSPHRASE, path, first: new Map(first.map((one) => [one.entry.name, one])),
    async write(name, content) {
      await writeFile(path(name), content, { mode: 0o600 });
      return path(name);
    },
    remove() {
      office.close();
      rmSync(base, { recursive: true, force: true });
    },
  };
}
