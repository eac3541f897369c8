import { beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { loadCrls } from '../src/revocation/crl-store.ts';
import type { LoadCrlsOptions, LoadedCrls } from '../src/revocation/crl-store.ts';
import { crlStatement } from '../src/revocation/crl-statement.ts';
import type { CrlOptions } from '../src/revocation/crl-statement.ts';
import type { Statement } from '../src/revocation/status.ts';
import { createAuthority, issueCertificate, issueCrl, unknownExtension } from './support/pki.ts';
import type { Authority, CertificateOptions, CrlOptions as IssueOptions, Issued } from './support/pki.ts';

const NOW = Math.floor(Date.now() / 1000) * 1000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let root: Authority;
let issuing: Authority;
let client: Issued;

beforeAll(async () => {
  root = await createAuthority({ name: 'Root' });
  issuing = await createAuthority({ name: 'Issuing', issuer: root });
  client = await issueClient();
});

function issueClient(options: Partial<CertificateOptions> = {}, authority = issuing): Promise<Issued> {
  return issueCertificate(authority, { subject: [['CN', 'Dr Wang']], ...options });
}

function crl(options: IssueOptions = {}, authority = issuing): Promise<Buffer> {
  return issueCrl(authority, { thisUpdate: NOW - HOUR, nextUpdate: NOW + DAY, ...options });
}

function pem(der: Uint8Array): Buffer {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g) ?? [];
  return Buffer.from(`-----BEGIN X509 CRL-----\n${lines.join('\n')}\n-----END X509 CRL-----\n`);
}

function load(files: readonly Uint8Array[], options: Partial<LoadCrlsOptions> = {}, previous?: LoadedCrls): Promise<LoadedCrls> {
  const realms = [{ anchors: [root.der], intermediates: [issuing.der] }];
  return loadCrls({ files: files.map((bytes, index) => ({ file: `${index}.crl`, bytes })), realms, now: NOW, ...options }, previous);
}

/** What these CRL files say about a certificate of the issuing CA. */
async function statement(files: readonly Uint8Array[], { about = client, issuer = issuing, now = NOW, options = {}, load: loading = {} }: {
  about?: Issued; issuer?: Authority; now?: number; options?: Partial<CrlOptions>; load?: Partial<LoadCrlsOptions>;
} = {}): Promise<Statement> {
  const { handles } = await load(files, loading);
  return crlStatement(handles, parse(about), parse(issuer), now, { skew: MINUTE, anchor: parse(root), ...options });
}

const parse = (issued: Issued): Certificate => parseCertificate(issued.der);
const listed = (about: Issued, fields = {}): IssueOptions => ({ revoked: [{ serial: about.serialHex, date: NOW - 2 * HOUR, ...fields }] });
const unavailable = (reason: string, detail = /./): object => ({ kind: 'unavailable', reason, detail: expect.stringMatching(detail) });

describe('a CRL', () => {
  it('that does not list a certificate says good until its nextUpdate', async () => {
    expect(await statement([await crl()])).toMatchObject({
      kind: 'good', source: 'crl', at: NOW, thisUpdate: NOW - HOUR, nextUpdate: NOW + DAY, validUntil: NOW + DAY + MINUTE,
    });
  });

  it('that lists a certificate says revoked, when and why', async () => {
    expect(await statement([await crl(listed(client, { reason: 'keyCompromise' }))])).toMatchObject({
      kind: 'revoked', source: 'crl', reason: 'keyCompromise', revokedAt: NOW - 2 * HOUR,
    });
  });

  it('reads the same from PEM, several to a file', async () => {
    const file = Buffer.concat([Buffer.from('the lists of two CAs\n'), pem(await crl({}, root)), pem(await crl(listed(client)))]);
    const loaded = await load([file]);
    expect(loaded.report.map(({ issuer }) => issuer)).toEqual(['CN=Root', 'CN=Issuing']);
    expect(crlStatement(loaded.handles, parse(client), parse(issuing), NOW, { skew: 0 }).kind).toBe('revoked');
  });

  it('of another issuer says nothing', async () => {
    expect(await statement([await crl({}, root)])).toMatchObject(unavailable('crl_missing', /no CRL of CN=Issuing/));
  });

  it('counts as expired after its nextUpdate and the allowed skew', async () => {
    const file = await crl({ nextUpdate: NOW - 2 * MINUTE });
    expect(await statement([file], { options: { skew: 3 * MINUTE } })).toMatchObject({ kind: 'good' });
    expect(await statement([file])).toMatchObject({ ...unavailable('crl_expired'), lastGoodAt: NOW - MINUTE, nextUpdate: NOW - 2 * MINUTE });
  });

  it('still revokes after it has expired', async () => {
    const file = await crl({ nextUpdate: NOW - 30 * MINUTE, ...listed(client) });
    const said = await statement([file]);
    expect(said).toMatchObject({ kind: 'revoked' });
    expect(said).not.toHaveProperty('provisional');
  });

  it('holds a certificate only provisionally after it has expired', async () => {
    const file = await crl({ nextUpdate: NOW - 30 * MINUTE, ...listed(client, { reason: 'certificateHold' }) });
    expect(await statement([file])).toMatchObject({ kind: 'revoked', provisional: true });
  });

  it('from the future says nothing yet', async () => {
    expect(await statement([await crl({ thisUpdate: NOW + HOUR })])).toMatchObject(unavailable('crl_missing', /in the future/));
  });

  it('with a broken signature says nothing', async () => {
    const loaded = await load([await crl({ breakSignature: true })]);
    expect(loaded.problems).toEqual([{ source: '0.crl', reason: 'unverified', detail: expect.stringMatching(/signature/), crl: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
    expect(crlStatement(loaded.handles, parse(client), parse(issuing), NOW, { skew: 0 })).toMatchObject(unavailable('crl_missing', /verifies/));
  });

  it('signed by another CA under the same name says nothing', async () => {
    const impostor = await createAuthority({ name: 'Issuing' });
    expect(await statement([await crl({ omitAuthorityKeyIdentifier: true }, impostor)])).toMatchObject(unavailable('crl_missing'));
    // Even where the other CA is trusted, elsewhere: its certificates are another matter.
    const realms = [{ anchors: [root.der], intermediates: [issuing.der] }, { anchors: [impostor.der], intermediates: [] }];
    expect(await statement([await crl({}, impostor)], { load: { realms } })).toMatchObject(unavailable('crl_missing', /same trust anchor/));
  });

  it('of an issuer that may not sign CRLs says nothing', async () => {
    const mute = await createAuthority({ name: 'Mute', issuer: root, keyUsage: ['keyCertSign'] });
    const about = await issueClient({}, mute);
    const realms = [{ anchors: [root.der], intermediates: [mute.der] }];
    expect(await statement([await crl({}, mute)], { about, issuer: mute, load: { realms } })).toMatchObject(unavailable('crl_missing', /may not sign CRLs/));
  });

  it.each([
    ['a critical extension we do not know', { extensions: [unknownExtension(true)] }, /critical extension/],
    ['a critical entry extension we do not know', { revoked: [{ serial: '01', extensions: [unknownExtension(true)] }] }, /critical extension/],
    ['no nextUpdate', { nextUpdate: null }, /no nextUpdate/],
    ['a scope that contradicts itself', { issuingDistributionPoint: { onlyContainsUserCerts: true, onlyContainsCACerts: true } }, /contradicts/],
    ['entries of other issuers without being indirect', { revoked: [{ serial: '01', certificateIssuer: [['CN', 'Else']] as const }] }, /not an indirect/],
  ])('with %s is not used', async (_, options, detail) => {
    const loaded = await load([await crl(options)]);
    expect(loaded.handles).toEqual([]);
    expect(loaded.problems).toEqual([{ source: '0.crl', reason: 'unusable', detail: expect.stringMatching(detail) }]);
  });

  it('is verified late when only the handshake brings its issuer', async () => {
    const loading = { realms: [{ anchors: [root.der], intermediates: [] }] };
    expect(await statement([await crl()], { load: loading })).toMatchObject({ kind: 'good' });
    expect(await statement([await crl(listed(client))], { load: loading })).toMatchObject({ kind: 'revoked' });
    expect(await statement([await crl({ breakSignature: true })], { load: loading })).toMatchObject(unavailable('crl_missing'));
  });
});

describe('a partitioned CRL', () => {
  it('of one distribution point speaks for the certificates that name it', async () => {
    const about = await issueClient({ crlDistributionPoints: ['http://pki.test/a.crl'] });
    const a = await crl({ issuingDistributionPoint: { urls: ['http://pki.test/a.crl'] } });
    const b = await crl({ issuingDistributionPoint: { urls: ['http://pki.test/b.crl'] }, ...listed(about) });
    expect(await statement([a, b], { about })).toMatchObject({ kind: 'good' });
    expect(await statement([b], { about })).toMatchObject(unavailable('crl_missing', /scope/));
    expect(await statement([a])).toMatchObject(unavailable('crl_missing', /scope/));
  });

  it('of users or of CAs speaks for these', async () => {
    const users = await crl({ issuingDistributionPoint: { onlyContainsUserCerts: true } });
    const authorities = await crl({ issuingDistributionPoint: { onlyContainsCACerts: true } });
    expect(await statement([users])).toMatchObject({ kind: 'good' });
    expect(await statement([authorities])).toMatchObject(unavailable('crl_missing'));
    expect(await statement([await crl({ issuingDistributionPoint: { onlyContainsAttributeCerts: true } })])).toMatchObject(unavailable('crl_missing'));
  });

  it('of some reasons is good only together with those of all others', async () => {
    const some = await crl({ issuingDistributionPoint: { onlySomeReasons: ['keyCompromise', 'cACompromise'] } });
    const rest = ['affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise'] as const;
    const others = await crl({ issuingDistributionPoint: { onlySomeReasons: rest } });
    expect(await statement([some])).toMatchObject(unavailable('crl_missing', /some reasons/));
    expect(await statement([some, others])).toMatchObject({ kind: 'good' });
    const listing = await crl({ issuingDistributionPoint: { onlySomeReasons: ['keyCompromise'] }, ...listed(client) });
    expect(await statement([listing])).toMatchObject({ kind: 'revoked' });
  });
});

describe('a delta CRL', () => {
  const base = (options: IssueOptions = {}): Promise<Buffer> => crl({ number: 5, ...options });
  const delta = (options: IssueOptions = {}): Promise<Buffer> => crl({ number: 7, deltaBase: 5, thisUpdate: NOW - MINUTE, nextUpdate: NOW + HOUR, ...options });

  it('adds its entries to those of its base', async () => {
    expect(await statement([await base(), await delta(listed(client))])).toMatchObject({ kind: 'revoked', detail: expect.stringMatching(/delta/) });
    expect(await statement([await base(), await delta()])).toMatchObject({ kind: 'good', nextUpdate: NOW + HOUR });
  });

  it('lifts a hold of its base with removeFromCRL', async () => {
    const held = await base(listed(client, { reason: 'certificateHold' }));
    expect(await statement([held])).toMatchObject({ kind: 'revoked' });
    expect(await statement([held, await delta(listed(client, { reason: 'removeFromCRL' }))])).toMatchObject({ kind: 'good' });
  });

  it('keeps an expired base in force', async () => {
    expect(await statement([await base({ nextUpdate: NOW - 10 * MINUTE }), await delta()])).toMatchObject({ kind: 'good' });
  });

  it('means nothing without a base, or with one that is too old', async () => {
    expect(await statement([await delta()])).toMatchObject(unavailable('crl_missing'));
    expect(await statement([await crl({ number: 4 }), await delta(listed(client))])).toMatchObject({ kind: 'good' });
  });

  it('adds nothing to a list of another scope', async () => {
    const users = await delta({ issuingDistributionPoint: { onlyContainsUserCerts: true }, ...listed(client, { reason: 'removeFromCRL' }) });
    expect(await statement([await base(listed(client)), users])).toMatchObject({ kind: 'revoked' });
  });

  it('that has expired still revokes and no longer lifts', async () => {
    const nextUpdate = NOW - 10 * MINUTE;
    const thisUpdate = NOW - 20 * MINUTE;
    expect(await statement([await base(), await delta({ thisUpdate, nextUpdate, ...listed(client) })])).toMatchObject({ kind: 'revoked' });
    const lifting = await delta({ thisUpdate, nextUpdate, ...listed(client, { reason: 'removeFromCRL' }) });
    expect(await statement([await base(listed(client, { reason: 'certificateHold' })), lifting])).toMatchObject({ kind: 'revoked' });
  });
});

describe('an indirect CRL', () => {
  const crlIssuer = [['CN', 'CRL issuer']] as const;
  let signer: Issued;
  let about: Issued;

  beforeAll(async () => {
    signer = await issueCertificate(root, { subject: crlIssuer, keyUsage: ['cRLSign'] });
    about = await issueClient({ crlDistributionPoints: [{ crlIssuer }] });
  });

  const indirect = (options: IssueOptions = {}, authority = signer): Promise<Buffer> =>
    crl({ issuingDistributionPoint: { indirectCRL: true }, ...options }, authority);
  const known = (certificate: Issued): { realms: LoadCrlsOptions['realms'] } => ({ realms: [{ anchors: [root.der], intermediates: [issuing.der, certificate.der] }] });

  it('speaks for the issuers that its entries name', async () => {
    const files = [await crl({}, root), await indirect({ revoked: [{ serial: about.serialHex, certificateIssuer: issuing.subject }] })];
    expect(await statement(files, { about, load: known(signer) })).toMatchObject({ kind: 'revoked' });
    const others = [await crl({}, root), await indirect({ revoked: [{ serial: about.serialHex }] })];
    expect(await statement(others, { about, load: known(signer) })).toMatchObject({ kind: 'good' });
  });

  it('says nothing about certificates that do not name its issuer', async () => {
    expect(await statement([await crl({}, root), await indirect()], { load: known(signer) })).toMatchObject(unavailable('crl_missing'));
  });

  it('needs a signer below the same anchor', async () => {
    const elsewhere = await createAuthority({ name: 'Elsewhere' });
    const stranger = await issueCertificate(elsewhere, { subject: crlIssuer, keyUsage: ['cRLSign'] });
    const realms = [{ anchors: [root.der], intermediates: [issuing.der] }, { anchors: [elsewhere.der], intermediates: [stranger.der] }];
    const files = [await crl({}, root), await crl({}, elsewhere), await indirect({}, stranger)];
    expect(await statement(files, { about, load: { realms } })).toMatchObject(unavailable('crl_missing', /same trust anchor/));
  });

  it('needs a signer that is itself good', async () => {
    const file = await indirect();
    const revoking = await crl({ revoked: [{ serial: signer.serialHex }] }, root);
    expect(await statement([revoking, file], { about, load: known(signer) })).toMatchObject(unavailable('crl_missing', /signer is revoked/));
    expect(await statement([file], { about, load: known(signer) })).toMatchObject(unavailable('crl_missing', /status of its signer is unknown/));
    expect(await statement([file], { about, load: known(signer), options: { check: 'leaf' } })).toMatchObject({ kind: 'good' });
  });
});

describe('loading CRL files', () => {
  it('reports what is not a CRL and uses the rest', async () => {
    const loaded = await load([Buffer.from('garbage'), new Uint8Array(), Buffer.from(client.certificate), client.der, await crl()]);
    expect(loaded.report.map(({ source }) => source)).toEqual(['4.crl']);
    expect(loaded.problems.map(({ source, reason }) => `${source} ${reason}`)).toEqual(['0.crl malformed', '1.crl malformed', '2.crl malformed', '3.crl malformed']);
  });

  it('describes each list for the operator', async () => {
    const { report } = await load([await crl({ number: 12, ...listed(client) })]);
    expect(report).toEqual([{
      source: '0.crl', issuer: 'CN=Issuing', entries: 1, thisUpdate: NOW - HOUR, nextUpdate: NOW + DAY, number: '12', delta: false, verified: true,
    }]);
  });

  it('uses the newer of two lists of a kind', async () => {
    const older = await crl({ number: 1, ...listed(client) });
    const newer = await crl({ number: 2 });
    for (const files of [[older, newer], [newer, older]]) {
      const loaded = await load(files);
      expect(loaded.report.map(({ number }) => number)).toEqual(['2']);
    }
  });

  it('does not step back to an older list than the one in use', async () => {
    const before = await load([await crl({ number: 2, ...listed(client) })]);
    const after = await load([await crl({ number: 1 })], {}, before);
    expect(after.problems).toEqual([{ source: '0.crl', reason: 'older', detail: expect.stringMatching(/number 1 is older than number 2/) }]);
    expect(crlStatement(after.handles, parse(client), parse(issuing), NOW, { skew: 0 }).kind).toBe('revoked');
  });

  it('keeps the newer list where only the file of an older one is named any longer', async () => {
    const older = await crl({ number: 1 });
    const before = await load([older, await crl({ number: 2, ...listed(client) })]);
    const after = await load([older], {}, before);
    expect(after.report).toMatchObject([{ source: '0.crl', number: '2' }]);
    expect(crlStatement(after.handles, parse(client), parse(issuing), NOW, { skew: 0 }).kind).toBe('revoked');
  });

  it('takes over the table of a list that did not change', async () => {
    const file = await crl(listed(client));
    const before = await load([file]);
    const after = await load([file], {}, before);
    expect(after.handles[0]?.index.table).toBe(before.handles[0]?.index.table);
  });

  it('drops a list whose file is no longer named', async () => {
    const before = await load([await crl()]);
    expect((await load([], {}, before)).handles).toEqual([]);
  });

  it('hands the bytes of a large file over instead of copying them', async () => {
    const revoked = Array.from({ length: 2000 }, (_, index) => ({ serial: (index + 1).toString(16) }));
    const bytes = new Uint8Array(await crl({ revoked }));
    const loaded = await load([bytes], { consume: true });
    expect(loaded.report[0]?.entries).toBe(2000);
    expect(bytes.length).toBe(0);
  });

  it('gives up on files that take too long, and says so', async () => {
    const loaded = await load([await crl()], { deadline: 0 });
    expect(loaded.problems).toEqual([{ source: '0.crl', reason: 'failed', detail: expect.stringMatching(/within 0 ms/) }]);
  });

  it('makes handles that can be posted to threads and keep their table shared', async () => {
    const { handles } = await load([await crl(listed(client))]);
    const posted = structuredClone(handles);
    expect(crlStatement(posted, parse(client), parse(issuing), NOW, { skew: 0 }).kind).toBe('revoked');
    expect(posted[0]?.index.table.buffer).toBeInstanceOf(SharedArrayBuffer);
  });
});
