import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate } from '../src/ca/issue.ts';
import { lookInside } from '../src/cli/diagnose/inside.ts';
import { insecureParts } from '../src/cli/diagnose/mixed-content.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { configuration, gatewayDirectory, listener, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

interface Finding {
  readonly about: string;
  readonly outcome: string;
  readonly detail: string;
  readonly remedy?: string;
}

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  const pages: Readonly<Record<string, string>> = {
    '/public/portal': '<link href="/public/a.css" rel="stylesheet"><a href="/public/moved#top">next</a> <a href="http://elsewhere.test/">elsewhere</a><img src="https://cdn.test/a.png">',
    '/public/cured': '<meta http-equiv="Content-Security-Policy" content="upgrade-insecure-requests"><img src="http://pictures.test/w.png">',
    '/public/next': '<a href="cured">cured</a><img SRC=http://pictures.test/x.png><style>body { background: url("http://pictures.test/y.png") }</style><a href="/public/portal">back</a>',
    '/public/a.css': '@import "b.css"; /* url(http://pictures.test/none.png) */',
    '/public/b.css': 'body { background: url(http://pictures.test/sheet.png) }',
  };
  backend = await startBackend(pki, (request, response) => {
    const leads = { '/public/moved': 'next', '/public/away': 'https://elsewhere.test/' }[request.url ?? ''];
    if (leads !== undefined) return void response.writeHead(302, { location: leads }).end();
    const page = pages[request.url ?? ''];
    response.writeHead(page === undefined ? 404 : 200, { 'content-type': request.url?.endsWith('.css') === true ? 'text/css' : 'text/html' }).end(page);
  });
  gateway = await startGateway(pki, backend.port, {
    listeners: `${listener('clinical')}${listener('balanced', { listenerExtra: '    proxy_protocol: { from: [127.0.0.0/8] }' })}`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${backend.port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }
  misnamed: { endpoints: ["https://127.0.0.1:${backend.port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: other.internal } }
  absent: { endpoints: ["https://127.0.0.1:1"], tls: { trust: backend-ca.pem } }
  nameless: { endpoints: ["https://nobody.invalid"], tls: { trust: backend-ca.pem } }`,
  });
  await writeFile(gateway.path('roots.pem'), pki.root.certificate);
});

afterAll(async () => {
  await gateway?.stop();
  await backend?.close();
});

async function diagnose(...options: readonly string[]): Promise<{ readonly code: number | null; readonly findings: readonly Finding[] }> {
  const { code, stdout } = await wardgate(['diagnose', '--json', ...options]);
  return { code, findings: (JSON.parse(stdout) as { findings: readonly Finding[] }).findings };
}

const here = (...options: readonly string[]): ReturnType<typeof diagnose> => diagnose('-c', gateway.path('wardgate.yaml'), '--trust', gateway.path('roots.pem'), ...options);

describe('a running gateway', () => {
  it('is looked at from the name to the disk, and every line that is not good says what to do', async () => {
    const { code, findings } = await here();
    const listener = findings.filter(({ about }) => about === 'listener clinical, localhost');
    expect(listener.map(({ outcome, detail }) => `${outcome}: ${detail.replace(/\d+/g, 'N')}`)).toEqual([
      expect.stringMatching(/^good: localhost leads to /), 'good: N.N.N.N port N answers', 'good: TLS N.N and N.N', 'good: TLS N.N is refused',
      expect.stringMatching(/^good: its certificate verifies for localhost/), expect.stringMatching(/^(good|doubt): its certificate ends in/),
      'good: no OCSP answer is stapled: the certificate names no responder', expect.stringMatching(/^good: clients are asked for certificates of: .*Root/),
    ]);
    expect(findings.map(({ about }) => about)).toEqual(expect.arrayContaining(['configuration', 'gateway', 'audit', 'clock', 'file descriptors', `disk of ${gateway.path('state')}`]));
    expect(findings.filter(({ outcome, remedy }) => outcome !== 'good' && (remedy ?? '') === '')).toEqual([]);
    expect(findings).toContainEqual(expect.objectContaining({ about: expect.stringMatching(/^CRL of .*Issuing/), outcome: 'good', detail: expect.stringMatching(/^1 entries/) }));
    expect(code).toBe(1);
  });

  it('has a listener behind balancers looked at with the PROXY header that it waits for', async () => {
    const { findings } = await here();
    const listener = findings.filter(({ about }) => about === 'listener balanced, localhost').map(({ outcome, detail }) => `${outcome}: ${detail}`);
    expect(listener).toEqual(expect.arrayContaining(['good: TLS 1.3 and 1.2', 'good: TLS 1.1 is refused', expect.stringMatching(/^good: its certificate verifies for localhost/)]));
    expect(listener.filter((text) => text.startsWith('bad'))).toEqual([]);
  });

  it('has its upstreams tried with its own certificates: who is away, and who shows the wrong name', async () => {
    let findings: readonly Finding[] = [];
    const of = (name: string): string[] => findings.filter(({ about }) => about.startsWith(`upstream ${name},`)).map(({ outcome, detail }) => `${outcome}: ${detail}`);
    // One fault, one line, which names the cause.
    await expect.poll(async () => {
      ({ findings } = await here());
      return of('nameless');
    }).toEqual([expect.stringMatching(/^bad: its name was not found: .*nobody\.invalid/)]);
    expect(of('records')).toContain('good: TLSv1.3, verified as records.internal');
    expect(of('misnamed')).toContain('bad: its certificate does not verify as other.internal: it is for other names');
    expect(of('absent').some((text) => /^bad: no TLS handshake from here: .*ECONNREFUSED/.test(text))).toBe(true);
  });

  it('is told of a name that no certificate covers, and of one without an address', async () => {
    const { findings } = await here('--host', 'nobody.invalid');
    const found = findings.filter(({ about }) => about === 'listener clinical, nobody.invalid').map(({ outcome, detail }) => `${outcome}: ${detail}`);
    expect(found[0]).toMatch(/^bad: nobody\.invalid has no address/);
    expect(found.at(-1)).toMatch(/^bad: no TLS handshake for nobody\.invalid/);
  });

  it('is told of a client certificate that no listener trusts, and of a server certificate that was revoked and serves on', async () => {
    const stranger = await issueCertificate(pki.backendCa, { subject: [['CN', 'Dr Else']] });
    await writeFile(gateway.path('stranger.pem'), stranger.chain);
    await writeFile(gateway.path('stranger.key'), stranger.key);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.serverEc.sha256, reason: 'key exposed', who: 'test' });
    let findings: readonly Finding[] = [];
    await expect.poll(async () => {
      ({ findings } = await here('--cert', gateway.path('stranger.pem'), '--key', gateway.path('stranger.key')));
      return findings.filter(({ about }) => about === 'listener clinical').map(({ detail }) => detail);
    }).toContainEqual(expect.stringMatching(/is not usable \(revoked\): it is on the deny list/));
    expect(findings).toContainEqual(expect.objectContaining({ about: 'listener clinical, client CN=Dr Else', outcome: 'bad', detail: expect.stringMatching(/^untrusted_issuer: .*; trusted here: CN=/) }));
    await gateway.gateway.reinstate({ kind: 'fingerprint', fingerprint: pki.serverEc.sha256 }, 'test');
  });

  it('is told of a client certificate that is trusted and revoked, and of one that has ended', async () => {
    const ended = await pki.issueClient({ subject: [['CN', 'Dr Gone'], ['OU', 'Doctors']], notBefore: Date.now() - 2 * 86_400_000, notAfter: Date.now() - 86_400_000 });
    const come = async (name: string, { chain, key }: { readonly chain: string; readonly key: string }): Promise<readonly Finding[]> => {
      await writeFile(gateway.path(`${name}.pem`), chain);
      await writeFile(gateway.path(`${name}.key`), key, { mode: 0o600 });
      const { findings } = await here('--cert', gateway.path(`${name}.pem`), '--key', gateway.path(`${name}.key`));
      return findings.filter(({ about }) => about.startsWith('listener clinical, client '));
    };
    expect(await come('gone', ended)).toEqual([expect.objectContaining({ outcome: 'bad', detail: expect.stringMatching(/^expired: /), remedy: expect.stringContaining('have another one issued') })]);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.doctor.sha256, reason: 'lost', who: 'test' });
    expect(await come('lost', pki.doctor)).toEqual([
      expect.objectContaining({ outcome: 'good', detail: expect.stringMatching(/^its path ends at /) }),
      expect.objectContaining({ outcome: 'bad', detail: expect.stringMatching(/^revoked_denylist: /), remedy: expect.stringContaining('wardgate reinstate') }),
    ]);
    await gateway.gateway.reinstate({ kind: 'fingerprint', fingerprint: pki.doctor.sha256 }, 'test');
    expect((await come('visitor', pki.unmapped)).at(-1)).toMatchObject({ outcome: 'bad', detail: 'no_role: no role matches what it carries' });
    expect(await wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path('visitor.pem')])).toMatchObject({ code: 3, stdout: expect.stringMatching(/denied: no_role\n$/) as string });
  });

  it('is told that its responder is away although nobody has had to ask it yet', async () => {
    const file = gateway.path('wardgate.yaml');
    await writeFile(gateway.path('responder.yaml'), (await readFile(file, 'utf8')).replace(/^revocation:.*$/m, 'revocation: { sources: [crl, ocsp], crl: { files: [issuing.crl, root.crl] }, ocsp: { responder: "http://127.0.0.1:1" } }'));
    const { findings } = await diagnose('-c', gateway.path('responder.yaml'), '--trust', gateway.path('roots.pem'));
    expect(findings.filter(({ about }) => about.startsWith('responder'))).toMatchObject([{ about: 'responder http://127.0.0.1:1', outcome: 'bad', detail: expect.stringMatching(/^cannot be reached from here: .*ECONNREFUSED/) as string }]);
  });

  it('is told once of a CRL that came and cannot be used', async () => {
    const status = await gateway.gateway.status();
    const [source] = status.crls.sources;
    const detail = 'no known certificate of its issuer may sign it';
    const broken = { ...status, crls: { ...status.crls, problems: [{ source: source?.source ?? '', detail }], sources: [{ ...source, last_error: { at: new Date().toISOString(), detail } }] } };
    expect(lookInside(broken as unknown as typeof status, Date.now()).filter(({ about }) => about === `CRL ${source?.source}`).map(({ outcome }) => outcome)).toEqual(['bad']);
  });

  it('prints the worst first, and no more than what is not good unless asked', async () => {
    const { stdout } = await wardgate(['diagnose', '-c', gateway.path('wardgate.yaml'), '--trust', gateway.path('roots.pem')]);
    const marks = stdout.split('\n').filter((line) => /^(BAD|doubt|\?|good)/.test(line)).map((line) => line.split(' ')[0]);
    expect(marks).toEqual([...marks].sort((left, right) => ['BAD', 'doubt', '?'].indexOf(left ?? '') - ['BAD', 'doubt', '?'].indexOf(right ?? '')));
    expect(marks).not.toContain('good');
    expect(stdout).toMatch(/\d+ bad, \d+ doubtful, \d+ unknown, \d+ good \(--all shows these\)\n$/);
  });

  it('cannot be told from a name that is not trusted here: then the root is asked for', async () => {
    const { findings } = await diagnose('--url', `https://localhost:${gateway.port}`);
    expect(findings).toContainEqual(expect.objectContaining({ outcome: 'unknown', detail: expect.stringMatching(/no CA of this machine vouches for it/), remedy: 'name the root of your own CA with --trust' }));
  });

  it('lists parts of pages that are loaded over plain HTTP, following links, redirects and style sheets within the origin', async () => {
    const { code, findings } = await diagnose('--pages', `https://localhost:${gateway.port}/public/portal`, '--trust', gateway.path('roots.pem'));
    expect(findings.map(({ about, outcome, detail }) => `${outcome} ${new URL(about).pathname}: ${detail}`).toSorted()).toEqual([
      'bad /public/b.css: loads http://pictures.test/sheet.png over plain HTTP', 'bad /public/next: loads http://pictures.test/x.png over plain HTTP', 'bad /public/next: loads http://pictures.test/y.png over plain HTTP',
      'good /public/cured: loads http://pictures.test/w.png, which browsers turn into https',
    ]);
    expect(code).toBe(1);
  });

  it('says that a page could not be seen, rather than that it is good', async () => {
    const { findings } = await diagnose('--pages', `https://localhost:${gateway.port}/records`, '--trust', gateway.path('roots.pem'));
    expect(findings).toEqual([expect.objectContaining({ outcome: 'unknown', detail: 'is answered with 401' })]);
    const away = await diagnose('--pages', `https://localhost:${gateway.port}/public/away`, '--trust', gateway.path('roots.pem'));
    expect(away.findings).toEqual([expect.objectContaining({ outcome: 'unknown', detail: 'leads to https://elsewhere.test/' })]);
  });
});

it('of a configuration that has never run, the disk that its state will be on is looked at', async () => {
  await writeFile(gateway.path('new.yaml'), `state: ./new/state\n${await readFile(gateway.path('wardgate.yaml'), 'utf8')}`);
  const { findings } = await diagnose('-c', gateway.path('new.yaml'));
  expect(findings.find(({ about }) => about === `disk of ${gateway.path('new/state')}`)?.detail).toMatch(/free, \d+ %$/);
});

describe('what is not Wardgate', () => {
  it('is told for an expired certificate, and for one of another name', async () => {
    const expired = await issueCertificate(pki.issuing, { eku: ['serverAuth'], subject: [['CN', 'localhost']], san: { dns: 'other.test' }, notBefore: Date.now() - 172_800_000, notAfter: Date.now() - 86_400_000 });
    const server: Server = createServer({ cert: expired.chain, key: expired.key });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { findings } = await diagnose('--url', `localhost:${(server.address() as AddressInfo).port}`, '--trust', gateway.path('roots.pem'));
    server.close();
    expect(findings.filter(({ outcome }) => outcome === 'bad').map(({ detail }) => detail.replace(/on \S+$/, 'on DAY'))).toEqual(['its certificate does not verify for localhost: it has ended', 'its certificate ended 24 h 0 min ago, on DAY']);
    expect(findings).toContainEqual(expect.objectContaining({ outcome: 'doubt', detail: 'no CA is named to clients: browsers then offer every certificate that there is' }));
  });
});

it('tells of a configuration that is not good, and of a gateway that does not run', async () => {
  const directory = await gatewayDirectory(pki);
  await writeFile(join(directory, 'wardgate.yaml'), configuration(1, { routes: '[{ name: x, match: { path: /x }, allow: [doctor], upstream: nowhere }]' }));
  const { code, findings } = await diagnose('-c', join(directory, 'wardgate.yaml'));
  await rm(directory, { recursive: true });
  expect(findings).toContainEqual(expect.objectContaining({ about: 'configuration', outcome: 'bad', detail: expect.stringMatching(/no upstream named "nowhere"/) }));
  expect(code).toBe(1);
});

it('takes wrong use for what it is', async () => {
  expect((await wardgate(['diagnose', '--url', 'http://plain.test'])).code).toBe(2);
  expect((await wardgate(['diagnose', '--url', 'https://a.test', '--cert', 'x.pem'])).stderr).toContain('--cert and --key belong together');
});

it.each([
  ['<img src="http://a/x">', ['http://a/x']],
  ['<IMG SRC = \'http://a/x\' alt="a > b">', ['http://a/x']],
  ['<a href="http://a/x">followed, not loaded</a><area href=http://a/y>', []],
  ['<link rel="stylesheet" href="http://a/s.css"><link rel=canonical href="http://a/">', ['http://a/s.css']],
  ['<img srcset="https://a/1 1x, http://a/2 2x">', ['http://a/2']],
  ['<script src=//a/x></script><script src="/x"></script>', []],
  ['<form action="http://a/send">', ['http://a/send']],
  ['<!-- <img src="http://a/x"> -->', []],
  ['<style>@import "http://a/s.css"; p { background: URL( http://a/p.png ) }</style>', ['http://a/s.css', 'http://a/p.png']],
  ['<img src="&#104;ttp://a/x"><img src="&#x68;t\ntp://a/y">', ['http://a/x', 'http://a/y']],
  ['<object data="http://a/o"></object><video poster="http://a/v.jpg">', ['http://a/o', 'http://a/v.jpg']],
])('finds in %s what is loaded over plain HTTP', (html, parts) => {
  expect(insecureParts(html)).toEqual(parts);
});

it.each(['<a ', '<link ', '<!--'])('is not held up by a page that is nothing but %s', (piece) => {
  const { user } = process.cpuUsage();
  expect(insecureParts(piece.repeat(60_000))).toEqual([]);
  expect(process.cpuUsage({ user, system: 0 }).user).toBeLessThan(1_000_000);
});
