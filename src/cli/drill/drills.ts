import { rmSync, writeFileSync } from 'node:fs';
import { createAuthority, issueCertificate, issueCrl, type Issued } from '../../ca/issue.ts';
import { parseCertificate } from '../../pki/certificate.ts';
import { formatName } from '../../pki/name.ts';
import { create } from '../backup/create.ts';
import { restore } from '../backup/restore.ts';
import { ask, askOn, closed, open, type Answered, type OpenOptions } from './client.ts';
import { timed, type Finding } from './report.ts';
import type { Cast, Visit } from './staged-config.ts';
import type { Staging } from './staging.ts';

/** What is promised: on every thread of a gateway, and from a CRL that has come. */
export const BARS = { gateway: 5_000, crl: 60_000, emergency: 30 * 60_000 } as const;
const DAY_MS = 86_400_000;

export interface Drilled {
  readonly findings: readonly Finding[];
  /** Roles that it concerns. */
  readonly roles: readonly string[];
}

/** `bar` is how long an emergency registration or a restore may take, in ms. */
export type Drill = (staging: Staging, bar: number) => Promise<Drilled>;

export const DRILLS: Readonly<Record<string, Drill>> = { expiry, theft, forgery, 'responder-down': responderDown, 'ca-compromise': caCompromise, restore: restored };

/** A role with a certificate, and somewhere to go. */
interface Player {
  readonly cast: Cast;
  readonly visit: Visit;
}

function players({ plan }: Staging): readonly Player[] {
  const found = plan.casts.flatMap((cast) => {
    const visit = plan.visits.find(({ role }) => role === cast.role);
    return visit === undefined ? [] : [{ cast, visit }];
  });
  const once = [...new Map(found.map((player) => [player.cast.role, player])).values()];
  if (once.length === 0) throw new Error('no role has a certificate that can be made here and an https route: there is nothing to drill');
  return once;
}

/** Whether the certificate was good enough; what a route says of its own is another matter. */
function letIn({ status, text }: Answered): boolean {
  return status > 0 && !/"code":"certificate_re(?:jected|quired)"/.test(text);
}

async function reasonOf(staging: Staging, fingerprint?: string): Promise<string> {
  for (let tries = 0; tries < 50; tries++) {
    const record = (await staging.records(fingerprint)).findLast(({ result, event }) => result === 'denied' && (event === 'request' || event === 'connection'));
    if (record?.reason !== undefined) return record.reason;
    await new Promise((done) => setTimeout(done, 100));
  }
  return 'nothing on record';
}

async function refusedFor(staging: Staging, answer: Answered, client: Issued, reasons: readonly string[]): Promise<{ readonly ok: boolean; readonly detail: string }> {
  if (letIn(answer) && !/"code":"(?:role_denied|bad_request)"/.test(answer.text)) return { ok: false, detail: `answered ${answer.status}` };
  const reason = await reasonOf(staging, client.sha256);
  return { ok: reasons.includes(reason), detail: reason };
}

/** Certificates end: whose would be refused, and how soon somebody has another one. */
async function expiry(staging: Staging, bar: number): Promise<Drilled> {
  const findings: Finding[] = [];
  for (const { cast, visit } of players(staging)) {
    findings.push(await timed(`a certificate of role ${cast.role} that ended is refused`, undefined, async () => {
      const ended = await staging.issue(cast, { notBefore: Date.now() - 2 * DAY_MS, notAfter: Date.now() - DAY_MS });
      return refusedFor(staging, await ask(staging, visit, { client: ended }), ended, ['expired']);
    }));
    findings.push(await timed(`emergency registration of role ${cast.role}: a temporary certificate serves`, bar, async () => {
      const answer = await ask(staging, visit, { client: await staging.issue(cast, { notAfter: Date.now() + 7 * DAY_MS }) });
      return { ok: letIn(answer), detail: `answered ${answer.status}` };
    }));
  }
  findings.push(await timed('a temporary certificate of the gateway itself is in force without a restart', bar, async () => {
    const next = await issueCertificate(staging.root, { subject: [['CN', 'Wardgate Drill, temporary']], san: { dns: staging.plan.names }, eku: ['serverAuth'], notAfter: Date.now() + 7 * DAY_MS });
    writeFileSync(staging.path('server.pem'), next.chain);
    writeFileSync(staging.path('server.key'), next.key);
    await staging.gateway().reloadCertificates();
    const [player] = players(staging) as readonly [Player];
    const socket = await open(staging, player.visit.host, { client: await staging.issue(player.cast) });
    const shown = socket?.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase();
    socket?.destroy();
    return { ok: shown === next.sha256 };
  }));
  return { findings, roles: staging.plan.casts.map(({ role }) => role) };
}

/** What becomes of a request on a session from before; passed when the session was resumed, and the request refused. */
async function resumed(staging: Staging, visit: Visit, options: Required<Pick<OpenOptions, 'client' | 'session'>>): Promise<{ readonly ok: boolean; readonly detail: string }> {
  const socket = await open(staging, visit.host, options);
  const reused = socket?.isSessionReused() === true;
  const answer = await askOn(socket, visit);
  socket?.destroy();
  return { ok: !letIn(answer), detail: reused ? 'by its ticket' : 'the ticket was not taken' };
}

/** A key is stolen: nothing may work with it any more, by whatever way. */
async function theft(staging: Staging): Promise<Drilled> {
  const [{ cast, visit }] = players(staging) as readonly [Player, ...Player[]];
  const client = await staging.issue(cast);
  let session: Buffer | undefined;
  const onSession = (ticket: Buffer): void => {
    session = ticket;
  };
  const [kept, upgraded] = await Promise.all([open(staging, visit.host, { client, onSession }), open(staging, visit.host, { client })]);
  const before = await askOn(kept, visit);
  const socket = await askOn(upgraded, { ...visit, method: 'GET' }, 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n');
  const streamCast = staging.plan.casts.find(({ role }) => staging.config.listeners.some((listener) => listener.protocol === 'tcp' && listener.allow.includes(role)));
  const streamer = streamCast === undefined || streamCast === cast ? client : await staging.issue(streamCast);
  const stream = streamCast === undefined ? undefined : await open(staging, 'localhost', { client: streamer, protocol: 'tcp' });
  const findings: Finding[] = [{ what: `role ${cast.role} is served before`, ok: letIn(before), detail: `answered ${before.status}` }];
  const deny = Promise.all([client, streamer].map(({ sha256 }) => staging.gateway().deny({ kind: 'fingerprint', fingerprint: sha256, reason: 'drill', who: 'drill' })));
  findings.push(...await Promise.all([
    timed('revoked: the kept-alive connection ends', BARS.gateway, () => closed(kept).then(() => ({ ok: true }))),
    ...(socket.status === 101 ? [timed('revoked: the WebSocket ends', BARS.gateway, () => closed(upgraded).then(() => ({ ok: true })))] : []),
    ...(stream === undefined ? [] : [timed('revoked: the stream ends', BARS.gateway, () => closed(stream).then(() => ({ ok: true })))]),
    timed('revoked: a new handshake is refused', BARS.gateway, async () => {
      await deny;
      return refusedFor(staging, await ask(staging, visit, { client }), client, ['revoked_denylist']);
    }),
    // A gateway that gives no tickets resumes nothing, and there is nothing to try.
    ...(session === undefined ? [] : [timed('revoked: a resumed session is refused', BARS.gateway, () => deny.then(() => resumed(staging, visit, { client, session: session as Buffer })))]),
  ]));
  upgraded?.destroy();
  if (staging.config.revocation.check !== 'off' && staging.config.revocation.sources.includes('crl')) findings.push(await byCrl(staging, { cast, visit }));
  return { findings, roles: [cast.role, ...(streamCast === undefined ? [] : [streamCast.role])] };
}

async function byCrl(staging: Staging, { cast, visit }: Player): Promise<Finding> {
  const client = await staging.issue(cast);
  const kept = await open(staging, visit.host, { client });
  await askOn(kept, visit);
  const { refresh } = staging.config.revocation.crl;
  return timed('revoked by the CA: the connection ends once the CRL file has changed', BARS.crl, async () => {
    await staging.writeCrls([client.serialHex]);
    await closed(kept);
    const { ok } = await refusedFor(staging, await ask(staging, visit, { client }), client, ['revoked_crl', 'revoked_ocsp']);
    return { ok, detail: `CRLs of URLs are looked at every ${Math.round(refresh / 1_000)} s on top` };
  });
}

/** Certificates that somebody made up: each is refused, with the reason that fits. */
async function forgery(staging: Staging): Promise<Drilled> {
  const findings: Finding[] = [];
  const all = players(staging);
  for (const { cast, visit } of all) {
    const authority = staging.plan.authorities.find(({ name }) => name === cast.authority);
    const lookAlike = await createAuthority({ name: authority?.subject ?? 'x', issuer: await createAuthority({ name: 'Wardgate Drill Root' }) });
    const attempt = (what: string, reasons: readonly string[], make: () => Promise<Issued>): Promise<void> => timed(`${what}, as role ${cast.role}, is refused`, undefined, async () => {
      const client = await make();
      return refusedFor(staging, await ask(staging, visit, { client }), client, reasons);
    }).then((finding) => void findings.push(finding));
    await attempt('a certificate of a look-alike CA', ['untrusted_issuer', 'signature_invalid'], () => issueCertificate(lookAlike, cast.certificate));
    await attempt('a certificate with a broken signature', ['signature_invalid'], () => staging.issue(cast, { breakSignature: true }));
    await attempt('a server\'s certificate', ['eku_invalid'], () => staging.issue(cast, { eku: ['serverAuth'] }));
    const [, name] = cast.certificate.subject.find(([type]) => type === 'CN') ?? [];
    await attempt('its name alone, in a certificate of nobody\'s', ['no_role', 'role_denied'], () => staging.issue({ ...cast, authority: 'issuing', certificate: { subject: [['CN', String(name)], ['OU', 'Drill Nobody']] } }));
  }
  const [{ cast, visit }] = all as readonly [Player, ...Player[]];
  const genuine = await staging.issue(cast);
  const smuggled = `Client-Cert: :${genuine.der.toString('base64')}:\r\nX-Client-Role: smuggled\r\nX-Client-Id: smuggled\r\nX_Client_Role: smuggled\r\nX-Forwarded-Client-Cert: smuggled\r\n`;
  findings.push(await timed('somebody else\'s certificate in a header, without one of one\'s own, is refused', undefined, async () => {
    const answer = await ask(staging, visit, {}, smuggled);
    return letIn(answer) ? { ok: false, detail: `answered ${answer.status}` } : { ok: true, detail: answer.status === 0 ? 'closed' : 'certificate_required' };
  }), await timed('identity headers of a client reach no upstream', undefined, async () => {
    const asked = staging.asked.length;
    const answer = await ask(staging, visit, { client: genuine }, smuggled);
    const passed = staging.asked.slice(asked).some((headers) => JSON.stringify(headers).includes('smuggled'));
    return { ok: !passed, detail: staging.asked.length > asked ? 'the request passed without them' : `answered ${answer.status}` };
  }));
  return { findings, roles: [] };
}

/** Nobody can tell whether a certificate is good: what each route does then. */
async function responderDown(staging: Staging): Promise<Drilled> {
  const { revocation, routes } = staging.config;
  const visits = staging.plan.visits.flatMap((visit) => {
    const cast = staging.plan.casts.find(({ role }) => role === visit.role);
    return cast === undefined ? [] : [{ cast, visit }];
  });
  const known = new Map(await Promise.all(visits.map(async ({ cast, visit }) => {
    const client = await staging.issue(cast);
    return [visit, { client, before: letIn(await ask(staging, visit, { client })) }] as const;
  })));
  await staging.restart(async () => {
    staging.stopResponder();
    await staging.writeCrls([], { thisUpdate: Date.now() - 2 * DAY_MS, nextUpdate: Date.now() - DAY_MS });
  });
  const findings = await Promise.all(visits.map(({ cast, visit }) => {
    const policy = routes.find(({ name }) => name === visit.route)?.unavailable ?? revocation.unavailable;
    const words = revocation.check === 'off' ? 'check: off' : typeof policy === 'string' ? policy : `allow_for ${Math.round(policy.allow_for / 60_000)} min`;
    return timed(`route ${visit.route}, role ${cast.role} (${words})`, undefined, async () => {
      const stranger = letIn(await ask(staging, visit, { client: await staging.issue(cast) }));
      const before = known.get(visit);
      const served = before !== undefined && letIn(await ask(staging, visit, { client: before.client }));
      const expected = revocation.check === 'off' || policy === 'allow';
      return { ok: stranger === expected && before?.before === true, detail: `a certificate never seen: ${stranger ? 'let in' : 'refused'}; one that was let in before the gateway was restarted: ${served ? 'let in' : 'refused'}` };
    });
  }));
  findings.push({ what: 'answers at hand', ok: true, detail: `OCSP answers last ${Math.round(revocation.ocsp.max_age / 1_000)} s at most, CRLs until their next update` });
  return { findings, roles: [...new Set(visits.map(({ cast }) => cast.role))] };
}

/** A CA is not to be trusted any more: whom that cuts off, and how soon another one takes over. */
async function caCompromise(staging: Staging): Promise<Drilled> {
  const all = players(staging);
  const [{ cast: { authority: name } }] = all as readonly [Player, ...Player[]];
  const authority = staging.authorities.get(name);
  if (authority === undefined) throw new Error(`no CA ${name}`);
  const subject = parseCertificate(authority.der).subject;
  const open_ = await Promise.all(all.map(async (player) => {
    const client = await staging.issue(player.cast);
    const socket = await open(staging, player.visit.host, { client });
    await askOn(socket, player.visit);
    return { ...player, client, socket };
  }));
  const hit = open_.filter(({ cast }) => cast.authority === name);
  const spared = open_.filter(({ cast }) => cast.authority !== name);
  const deny = staging.gateway().deny({ kind: 'issuer', issuer: subject.normalized, issuer_text: formatName(subject), reason: 'drill', who: 'drill' });
  const findings = await Promise.all(hit.map(({ cast, visit, client, socket }) => timed(`the issuer of role ${cast.role} is denied: its connections end, new ones are refused`, BARS.gateway, async () => {
    await closed(socket);
    await deny;
    return refusedFor(staging, await ask(staging, visit, { client }), client, ['revoked_denylist']);
  })));
  await deny;
  for (const { cast, visit, socket } of spared) findings.push({ what: `role ${cast.role} has another issuer and is still served`, ok: letIn(await askOn(socket, visit)) });
  for (const { socket } of open_) socket?.destroy();
  findings.push(await timed('another CA is trusted without a restart, and its certificates are served', BARS.crl, async () => {
    const next = await createAuthority({ name: 'Wardgate Drill Successor' });
    writeFileSync(staging.path('root.pem'), `${staging.root.certificate}${next.certificate}`);
    writeFileSync(staging.path(`${name}.crl`), await issueCrl(next, {}));
    await staging.gateway().reloadCertificates();
    const { cast, visit } = hit[0] as Player;
    const client = await issueCertificate(next, cast.certificate);
    const deadline = performance.now() + BARS.crl;
    while (performance.now() < deadline) {
      const answer = await ask(staging, visit, { client });
      if (letIn(answer)) return { ok: true, detail: `answered ${answer.status}` };
      await new Promise((done) => setTimeout(done, 250));
    }
    return { ok: false, detail: await reasonOf(staging, client.sha256) };
  }));
  return { findings, roles: hit.map(({ cast }) => cast.role) };
}

/** Everything is lost but the backup. */
async function restored(staging: Staging, bar: number): Promise<Drilled> {
  const [{ cast, visit }] = players(staging) as readonly [Player, ...Player[]];
  const client = await staging.issue(cast);
  const stolen = await staging.issue(cast);
  await staging.gateway().deny({ kind: 'fingerprint', fingerprint: stolen.sha256, reason: 'drill', who: 'drill' });
  const out = staging.beside('drill.wgb');
  const passphrase = staging.beside('passphrase');
  writeFileSync(passphrase, 'a passphrase of the drill\n', { mode: 0o600 });
  const ground = { config: staging.path('wardgate.yaml'), passphraseFile: [passphrase], who: 'drill' };
  const quiet = (): void => undefined;
  const made = await timed('a backup is made beside the gateway', bar, async () => ({ ok: await create({ ...ground, out }, quiet) === 0 }));
  const back = await timed(`everything is lost, and restored: role ${cast.role} is served`, bar, async () => {
    await staging.restart(async () => {
      rmSync(staging.path('.'), { recursive: true, force: true });
      if (await restore(out, { ...ground, force: true }, quiet) !== 0) throw new Error('the backup was not restored');
    });
    const answer = await ask(staging, visit, { client });
    return { ok: letIn(answer), detail: `answered ${answer.status}` };
  });
  const still = await timed('what was revoked before is still refused', undefined, async () => refusedFor(staging, await ask(staging, visit, { client: stolen }), stolen, ['revoked_denylist']));
  return { findings: [made, back, still], roles: staging.plan.casts.map(({ role }) => role) };
}
