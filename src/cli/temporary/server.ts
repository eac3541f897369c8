import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isIP } from 'node:net';
import { makeCsr } from '../../ca/csr.ts';
import { encryptKey } from '../../ca/key-file.ts';
import { generateKey } from '../../ca/keys.ts';
import type { CaEntry, Office } from '../../ca/office.ts';
import { parseConfig } from '../../config/load.ts';
import { passphraseIn, readPassphrases } from '../../config/passphrases.ts';
import type { TlsConfig } from '../../config/schema.ts';
import { isTokenUri } from '../../config/token-keys.ts';
import { ConfigurationError } from '../../configuration.ts';
import type { GatewayStatus } from '../../gateway.ts';
import { parseCertificate } from '../../pki/certificate.ts';
import { pemBlocks } from '../../pki/pem.ts';
import { asOwnerOf } from '../../store/as-owner.ts';
import { writeStateFile } from '../../store/note-file.ts';
import { noteTemporary, pendingKey } from '../../store/temporaries.ts';
import { auditPlaces } from '../archive.ts';
import { onRecord, timeText } from '../backup/ground.ts';
import { callGateway } from '../call.ts';
import { approvedRequest, fingerprintOf, momentText, openCa, profileFor, type TemporaryOptions } from './ground.ts';
import { putInPlace, shownBy, type Placed } from './place.ts';

export interface ServerOptions extends TemporaryOptions {
  readonly listener: string;
  readonly name?: string;
  /** Which of several certificates, as the configuration names its file. */
  readonly certificate?: string;
}

/** How long a listener may take to show what lies in its files. */
const LIVE_MS = 20_000;
const AGAIN_MS = 200;

/**
 * `wardgate temporary server`: a key, a certificate for a week, in the place of the listener's, and seen in a handshake before the command says so. Exit 1, and the old
 * ones are in their place again, when the gateway does not show it.
 */
export async function temporaryServer(options: ServerOptions, print: (text: string) => void): Promise<number> {
  const began = performance.now();
  const places = auditPlaces(options.config);
  const target = targetOf(options);
  const { names, common } = namesFor(options, target);
  const keyType = keyTypeOf(target);
  if (options.dryRun === true) {
    print(`would ask the CA for a certificate for ${common} (${[...names.dns, ...names.ip].join(', ')}), put it in place of ${target.certificate} and ${target.key}, and look whether listener ${options.listener} shows it`);
    return 0;
  }
  const opened = await openCa(options);
  const { office } = opened;
  try {
    const pair = await generateKey(keyType);
    const request = await approvedRequest(opened, options, async () => ({
      profile: profileFor(office, 'server', options.profile), name: common, names, key: { kind: 'csr', csr: await makeCsr(pair.privateKey, [['CN', common]]) },
    }));
    const keyName = pendingKey(request.id);
    if (request.missing.length > 0) {
      writeStateFile(places.state, keyName, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
      print(options.json === true ? JSON.stringify({ request: request.id, missing: request.missing }) : `asked for as ${request.id}; there is still missing: ${request.missing.join('; ')}\nthen: wardgate temporary server --listener ${options.listener} --request ${request.id} --reason …`);
      return 1;
    }
    const key = options.request === undefined ? pair.privateKey : createPrivateKey(asOwnerOf(places.state, () => readFileSync(join(places.state, keyName))));
    const { entry } = await office.issue(request.id, { who: options.who, why: options.reason });
    refuseOther(entry, key);
    const live = await putAndLook(options, target, { office, entry, key, keyType });
    asOwnerOf(places.state, () => rmSync(join(places.state, keyName), { force: true }));
    if (live.kind === 'failed') {
      office.revoke(entry.serial, { who: options.who, reason: 'cessationOfOperation', why: `listener ${options.listener} did not show it` });
      throw new Error(`listener ${options.listener} did not show the new certificate, and has its old one again: ${live.detail}`);
    }
    const { serial, sha256, notAfter } = entry;
    noteTemporary(places.state, {
      sha256, serial, use: 'server', name: common, listener: options.listener, request: request.id, made: new Date().toISOString(), not_after: new Date(notAfter).toISOString(), who: options.who, why: options.reason,
      approved_by: request.approvals.map(({ by }) => by),
    });
    if (live.kind === 'live') office.confirm(office.deliver(request.id, { who: options.who, to: `listener ${options.listener}`, how: 'put in place' }).serial, { who: options.who, how: 'seen in a handshake' });
    else office.deliver(request.id, { who: options.who, to: `listener ${options.listener}`, how: 'put in place' });
    await onRecord(places, options.who, `put a temporary certificate on listener ${options.listener}, until ${new Date(notAfter).toISOString()}, serial ${serial}, SHA-256 ${sha256}: ${options.reason}`);
    const ms = Math.round(performance.now() - began);
    if (options.json === true) print(JSON.stringify({ serial, sha256, listener: options.listener, names, not_after: new Date(notAfter).toISOString(), live: live.kind === 'live', kept: live.kept, ms }));
    else {
      print([
        live.kind === 'live' ? `listener ${options.listener} shows the new certificate: seen in a handshake, ${timeText(ms)} after the command began` : `it is in place, and nobody has seen it yet: ${live.detail}`,
        `it ends ${momentText(notAfter)}: have a regular one issued before`, ...live.kept.map((file) => `of before: ${file}`),
      ].join('\n'));
    }
    return 0;
  } finally {
    office.close();
  }
}

interface Target {
  readonly certificate: string;
  readonly key: string;
  readonly directory: string;
  readonly pair: TlsConfig['certificates'][number];
  readonly announced: boolean;
}

function targetOf({ config: file, listener: name, certificate }: ServerOptions): Target {
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  const listener = parsed.config.listeners.find((one) => one.name === name);
  if (listener === undefined || listener.protocol === 'redirect') throw new Error(`--listener: no listener ${JSON.stringify(name)} that has certificates; there are ${parsed.config.listeners.filter(({ protocol }) => protocol !== 'redirect').map((one) => one.name).join(', ')}`);
  const directory = dirname(resolve(file));
  const all = listener.tls.certificates;
  const chosen = certificate === undefined ? all : all.filter((one) => one.certificate !== undefined && [one.certificate, resolve(directory, one.certificate)].includes(certificate));
  const [pair] = chosen;
  const known = all.flatMap((one) => one.certificate ?? one.pkcs12 ?? []).join(', ');
  if (pair === undefined || (chosen.length > 1 && certificate === undefined)) throw new Error(`--certificate: which of those of listener ${name}? ${known}`);
  if (pair.certificate === undefined || pair.key === undefined) throw new Error(`listener ${name} has its certificate in ${known}, a PKCS#12 file: name a certificate and a key in PEM in its place, and run the command again`);
  if (isTokenUri(pair.key)) throw new Error(`listener ${name} has its key in a token (${pair.key}): name a file in its place, and run the command again`);
  return { certificate: resolve(directory, pair.certificate), key: resolve(directory, pair.key), directory, pair, announced: listener.proxy_protocol !== undefined };
}

/** Those of the certificate that is there, or the one that was named. */
function namesFor({ name, listener }: ServerOptions, { certificate }: Target): { readonly names: { readonly dns: string[]; readonly ip: string[] }; readonly common: string } {
  if (name !== undefined) return { names: isIP(name) === 0 ? { dns: [name], ip: [] } : { dns: [], ip: [name] }, common: name };
  try {
    const [block] = pemBlocks(readFileSync(certificate, 'latin1')).filter(({ label }) => label === 'CERTIFICATE');
    const sans = parseCertificate(block?.der ?? new Uint8Array()).subjectAltNames;
    const names = { dns: sans.flatMap((one) => (one.kind === 'dns' ? [one.value] : [])), ip: sans.flatMap((one) => (one.kind === 'ip' ? [one.value] : [])) };
    const common = [...names.dns, ...names.ip][0];
    if (common !== undefined) return { names, common };
  } catch {
    // What cannot be read is what is to be replaced.
  }
  throw new Error(`--name: for which name? ${certificate} of listener ${listener} has none that can be read`);
}

/** As it was: there may be another certificate beside it for clients of the other kind. */
function keyTypeOf({ certificate }: Target): 'ec' | 'rsa3072' {
  try {
    return new X509Certificate(readFileSync(certificate)).publicKey.asymmetricKeyType === 'rsa' ? 'rsa3072' : 'ec';
  } catch {
    return 'ec';
  }
}

function refuseOther({ der }: CaEntry, key: KeyObject): void {
  if (!new X509Certificate(der).checkPrivateKey(key)) throw new Error('the certificate is of another key than the one that waits for it here; begin anew without --request');
}

type Live = { readonly kind: 'live'; readonly kept: readonly string[] } | { readonly kind: 'unseen'; readonly kept: readonly string[]; readonly detail: string } | { readonly kind: 'failed'; readonly detail: string };

async function putAndLook(options: ServerOptions, target: Target, { office, entry, key, keyType }: { readonly office: Office; readonly entry: CaEntry; readonly key: KeyObject; readonly keyType: 'ec' | 'rsa3072' }): Promise<Live> {
  const pem = { certificate: entry.chain, key: await protectedKey(key, target) };
  const { socket } = auditPlaces(options.config);
  let placed: Placed;
  try {
    placed = putInPlace(target, pem, `.before-temporary-${new Date().toISOString().replaceAll(/[-:.]/g, '')}`);
  } catch (error) {
    return { kind: 'failed', detail: (error as Error).message };
  }
  const took = async (): Promise<boolean> => await callGateway(socket, 'POST', '/v1/certificates/reload', { who: options.who, reason: options.reason }) !== undefined;
  try {
    if (!await took()) return { kind: 'unseen', kept: placed.kept, detail: 'no gateway runs on this configuration' };
    if (target.announced) return { kind: 'unseen', kept: placed.kept, detail: 'the listener is for balancers alone, which announce their clients (proxy_protocol)' };
    await seen(options, socket, { ca: office.root, keyType }, entry);
    return { kind: 'live', kept: placed.kept };
  } catch (error) {
    placed.undo();
    await took().catch(() => undefined);
    return { kind: 'failed', detail: (error as Error).message };
  }
}

/** Threads of one listener may follow one after the other: each handshake of several has to show it. */
async function seen({ listener, name }: ServerOptions, socket: string, by: { readonly ca: string; readonly keyType: 'ec' | 'rsa3072' }, entry: CaEntry): Promise<void> {
  const { listeners } = await callGateway(socket, 'GET', '/v1/status') as GatewayStatus;
  const bound = listeners.find((one) => one.name === listener);
  if (bound === undefined) throw new Error('the gateway has no such listener: its configuration was changed and not reloaded');
  const asked = name ?? entry.names.dns?.[0] ?? entry.names.ip?.[0] ?? entry.name;
  const deadline = performance.now() + LIVE_MS;
  for (let times = 0; times < 3;) {
    const found = await shownBy({ ...bound, name: asked.replace(/^\*\./, 'any.'), ...by });
    if (found.kind === 'shown' && found.sha256 === fingerprintOf(entry.der)) {
      times += 1;
      continue;
    }
    times = 0;
    if (performance.now() > deadline) throw new Error(found.kind === 'shown' ? 'it shows another certificate' : found.detail);
    await new Promise((resume) => setTimeout(resume, AGAIN_MS));
  }
}

/** Under the passphrase of the key that was there, where it has one. */
async function protectedKey(key: KeyObject, { pair, directory }: Target): Promise<string> {
  const { passphrase_file: file, passphrase_command: argv } = pair;
  if (file === undefined && argv === undefined) return key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const source = { kind: 'command' as const, path: [], argv: argv ?? [] };
  const found = file === undefined ? (await readPassphrases([source], { contentOf: () => undefined, directory, run: true }))(source) : passphraseIn(readFileSync(resolve(directory, file)), file);
  if (found.kind !== 'ok') throw new Error(found.kind === 'fault' ? found.message : 'the passphrase of the key is not known');
  return encryptKey(key, found.text);
}
