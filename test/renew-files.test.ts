import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { begin, begun, forget, pairFiles, readPair, receive, replacePair, unconfirmed, type PairFiles } from '../src/cli/renew/pair-files.ts';
import { issueCertificate, testPki, type Issued, type TestPki } from './support/pki.ts';

const MODULE = new URL('../src/cli/renew/pair-files.ts', import.meta.url).href;

let pki: TestPki;
let renewals: readonly Issued[];
const folder = mkdtempSync(join(tmpdir(), 'wardgate-renew-files-'));
beforeAll(async () => {
  pki = await testPki();
  const subject = [['CN', 'Kiosk 7'], ['OU', 'Devices'], ['O', 'Hospital']] as const;
  renewals = await Promise.all([1, 2, 3].map(() => issueCertificate(pki.issuing, { subject, san: { dns: 'kiosk-7.devices.hospital.test' } })));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let devices = 0;
function device(): PairFiles {
  devices += 1;
  const directory = mkdtempSync(join(folder, `device-${devices}-`));
  writeFileSync(join(directory, 'kiosk.pem'), pki.device.chain);
  writeFileSync(join(directory, 'kiosk.key'), pki.device.key, { mode: 0o600 });
  return pairFiles(join(directory, 'kiosk.pem'), join(directory, 'kiosk.key'));
}

function held({ certificate, key }: PairFiles): string {
  const leaf = new X509Certificate(readFileSync(certificate, 'utf8'));
  expect(leaf.checkPrivateKey(createPrivateKey(readFileSync(key, 'utf8')))).toBe(true);
  return leaf.serialNumber.toLowerCase();
}

function swap(files: PairFiles, to: Issued, name: string, step?: (name: string) => void): void {
  begin(files, name, to.key, Buffer.from('request'), step);
  receive(files, name, to.chain, step);
  replacePair(files, name, step);
}

describe('the files of a device', () => {
  test('hold the new pair after the swap, through links that the next one keeps', () => {
    const files = device();
    const [first, second] = renewals as [Issued, Issued];
    swap(files, first, 'renewed-1');
    expect(held(files)).toBe(first.serialHex);
    expect(lstatSync(files.key).isSymbolicLink()).toBe(true);
    const links = [files.certificate, files.key].map((file) => lstatSync(file).ino);
    swap(files, second, 'renewed-2');
    expect(held(files)).toBe(second.serialHex);
    expect([files.certificate, files.key].map((file) => lstatSync(file).ino)).toEqual(links);
  });

  test('keep the pair before the current one, and none of before that', () => {
    const files = device();
    renewals.forEach((to, index) => swap(files, to, `renewed-${index}`));
    expect(readdirSync(files.directory).filter((name) => /^(first|renewed)-/.test(name)).toSorted()).toEqual(['renewed-1', 'renewed-2']);
    expect(readFileSync(join(files.directory, 'previous', 'certificate.pem'), 'utf8')).toBe(renewals[1]?.chain);
  });

  test('give the new key to whoever could read the old one, and never to others', () => {
    const files = device();
    swap(files, renewals[0] as Issued, 'renewed-1');
    expect(statSync(files.key).mode & 0o777).toBe(0o600);
  });

  test('stay as they are when what came is no pair', () => {
    const files = device();
    const [first, second] = renewals as [Issued, Issued];
    begin(files, 'renewed-1', first.key, Buffer.from('request'));
    receive(files, 'renewed-1', second.chain);
    expect(() => replacePair(files, 'renewed-1')).toThrow(/not the certificate of/);
    expect(held(files)).toBe(pki.device.serialHex);
  });

  test('may be replaced by hand in between', () => {
    const files = device();
    const [first, second, third] = renewals as [Issued, Issued, Issued];
    swap(files, first, 'renewed-1');
    rmSync(files.certificate);
    rmSync(files.key);
    writeFileSync(files.certificate, second.chain);
    writeFileSync(files.key, second.key, { mode: 0o600 });
    swap(files, third, 'renewed-2');
    expect(held(files)).toBe(third.serialHex);
    expect(readFileSync(join(files.directory, 'previous', 'certificate.pem'), 'utf8')).toBe(second.chain);
  });

  test('that do not belong together are not touched', () => {
    const files = device();
    writeFileSync(files.key, pki.patient.key);
    expect(() => readPair(files)).toThrow(/not the certificate of/);
  });

  test('what was begun is taken up again, dropped when told, and gone once in force', () => {
    const files = device();
    const [first] = renewals as [Issued];
    begin(files, 'renewed-1', first.key, Buffer.from('request'));
    expect(begun(files)).toEqual({ name: 'renewed-1', key: first.key, request: Buffer.from('request') });
    receive(files, 'renewed-1', first.chain);
    expect(begun(files)?.certificate).toBe(first.chain);
    forget(files);
    expect(begun(files)).toBeUndefined();
    swap(files, first, 'renewed-2');
    expect(begun(files)).toBeUndefined();
    expect(unconfirmed(files)).toBeTypeOf('number');
  });
});

describe('kill -9', () => {
  const steps: string[] = [];
  beforeAll(() => {
    const files = device();
    swap(files, renewals[0] as Issued, 'renewed-1', (name) => steps.push(name));
    expect(steps.length).toBeGreaterThan(10);
  });

  /** A process that begins, receives and swaps, and ends itself without a word behind one of the steps. */
  function killedBehind(files: PairFiles, to: Issued, step: string): void {
    const script = `
      const { begin, receive, replacePair } = await import(${JSON.stringify(MODULE)});
      const { files, key, chain, step } = JSON.parse(process.env.TASK);
      const end = (name) => { if (name === step) process.kill(process.pid, 'SIGKILL'); };
      begin(files, 'renewed-1', key, Buffer.from('request'), end);
      receive(files, 'renewed-1', chain, end);
      replacePair(files, 'renewed-1', end);`;
    const { signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { env: { TASK: JSON.stringify({ files, key: to.key, chain: to.chain, step }) }, encoding: 'utf8' });
    expect(signal, stderr).toBe('SIGKILL');
  }

  test('behind any step leaves a pair that works, and the next run finishes', () => {
    for (const step of steps) {
      const files = device();
      const [first, second] = renewals as [Issued, Issued];
      killedBehind(files, first, step);
      expect([pki.device.serialHex, first.serialHex], step).toContain(held(files));
      const open = begun(files);
      if (open?.certificate !== undefined) {
        replacePair(files, open.name);
        expect(held(files), step).toBe(first.serialHex);
      }
      swap(files, second, 'renewed-2');
      expect(held(files), step).toBe(second.serialHex);
      expect(readdirSync(files.directory).filter((name) => name.endsWith('.new')), step).toEqual([]);
    }
  });
});
