import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../src/gateway.ts';
import { openDenyList, type DenyChange } from '../src/store/deny-list.ts';
import { addDenied, createDenyTable, denyKey, isDenied, removeDenied } from '../src/store/deny-table.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, gatewayDirectory } from './support/gateway.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, type TestPki } from './support/pki.ts';

/** Keys that the table takes: three quarters of its slots. */
const CAPACITY = 98_304;

const denial = (index: number): DenyChange => ({
  op: 'deny', kind: 'fingerprint', fingerprint: index.toString(16).padStart(64, '0'), reason: 'lost', who: 'test', at: '2026-01-01T00:00:00.000Z',
});

describe('a deny list that is full', () => {
  it('takes no further entry into its file either: it would stop the next start', async () => {
    const state = await mkdtemp(join(tmpdir(), 'wardgate-full-'));
    const file = join(state, 'denylist.jsonl');
    await writeFile(file, Array.from({ length: CAPACITY }, (_, index) => `${JSON.stringify(denial(index))}\n`).join(''));
    const before = await readFile(file);
    const list = openDenyList(state, createDenyTable());
    expect(() => list.apply(denial(CAPACITY))).toThrow(/full/);
    expect(list.entries()).toHaveLength(CAPACITY);
    list.close();
    expect((await readFile(file)).equals(before)).toBe(true);
    const table = createDenyTable();
    const again = openDenyList(state, table);
    expect(isDenied(table, denyKey('fingerprint', '0'.repeat(64)))).toBe(true);
    again.close();
    await rm(state, { recursive: true });
  });
});

describe('the deny table', () => {
  it('keeps lookups short when one certificate is denied and reinstated over and over', () => {
    const table = createDenyTable();
    const key = denyKey('fingerprint', 'aa');
    for (let round = 0; round < 12_000; round++) {
      addDenied(table, key);
      removeDenied(table, key);
    }
    expect(isDenied(table, key)).toBe(false);
    // A lookup passes every slot from the key's own to the first free one.
    expect(table.states.filter((state) => state !== 0)).toHaveLength(0);
  });

  it('keeps its room when more certificates are denied and reinstated than it holds', () => {
    const table = createDenyTable();
    const kept = Array.from({ length: 500 }, (_, index) => denyKey('serial', String(index)));
    for (const key of kept) addDenied(table, key);
    for (let index = 0; index < CAPACITY + 1; index++) {
      const key = denyKey('fingerprint', String(index));
      if (!addDenied(table, key)) expect.fail(`no room for the entry ${index}`);
      removeDenied(table, key);
    }
    expect(kept.every((key) => isDenied(table, key))).toBe(true);
    expect(isDenied(table, denyKey('fingerprint', '0'))).toBe(false);
  });
});

describe('a CA whose older certificates are revoked', () => {
  let pki: TestPki;
  let backend: Backend;

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki);
  });

  afterAll(() => backend.close());

  it('goes on serving its clients after refused ones have shown every older certificate', async () => {
    const name = [['CN', 'Field CA'], ['O', 'Hospital']] as const;
    const current = await createAuthority({ name, issuer: pki.root, pathLen: 0 });
    const older = await Promise.all(Array.from({ length: 6 }, () => createAuthority({ name, issuer: pki.root, pathLen: 0, key: current.key })));
    const refused = await Promise.all(older.map((authority) => issueCertificate(authority, { subject: [['CN', 'Mallory'], ['OU', 'Nobody']] })));
    const good = await issueCertificate(current, { subject: [['CN', 'Dr Field'], ['OU', 'Doctors']] });
    const directory = await gatewayDirectory(pki);
    await writeFile(join(directory, 'field.crl'), await issueCrl(current, {}));
    await writeFile(join(directory, 'root.crl'), await issueCrl(pki.root, { revoked: older.map((authority) => ({ serial: authority.serialHex, reason: 'superseded' })) }));
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, { revocation: '{ sources: [crl], crl: { files: [issuing.crl, root.crl, field.crl] } }' }).replace('threads: 2', 'threads: 1'));
    const gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
    const { port } = gateway.listeners[0]!;
    for (const client of refused) expect((await ask(pki, port, '/public/x', { client })).json()).toMatchObject({ status: 403, code: 'certificate_rejected' });
    expect((await ask(pki, port, '/records', { client: good })).status).toBe(200);
    await gateway.stop(0);
    await rm(directory, { recursive: true });
  });
});
