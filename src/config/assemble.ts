import { createHash } from 'node:crypto';
import type { CheckedFiles } from './checked-files.ts';
import type { Device } from './device.ts';
import { fileReferences, type FileUse } from './file-references.ts';
import { encodePem, type Chain } from './material.ts';
import { fileOf, type AlarmChannelConfig, type Config, type ListenerConfig, type OwnPairConfig, type SecondFactorConfig, type StoreConfig, type TokenConfig, type TracingConfig, type UpstreamConfig } from './schema.ts';
import type {
  AlarmChannelMaterial, KeySource, ListenerMaterial, Realm, SecondFactorMaterial, ServerCertificate, SmsTarget, Snapshot, StoreMaterial, TracingMaterial, UpstreamMaterial,
} from './snapshot.ts';
import { secretIn } from './webhook-secrets.ts';

/** A snapshot of a configuration whose files were read and checked: of these, what each part of a gateway needs. */
export function assemble(config: Config, read: Pick<Snapshot, 'file' | 'directory' | 'digest' | 'digests' | 'crls'>, files: CheckedFiles, devices: readonly Device[] | undefined): Snapshot {
  const listeners = config.listeners.flatMap((listener) => (listener.protocol === 'redirect' ? [] : [[listener.name, listenerMaterial(listener, files)] as const]));
  const upstreams = Object.entries(config.upstreams).map(([name, upstream]) => [name, upstreamMaterial(upstream, files)] as const);
  const { authorities, bundles } = authoritiesOf(config, files);
  return {
    ...read,
    config,
    listeners: Object.fromEntries(listeners),
    upstreams: Object.fromEntries(upstreams),
    authorities,
    bundles,
    ...(devices === undefined ? {} : { devices }),
    webhooks: Object.fromEntries(Object.entries(config.webhooks).map(([name, { secrets = [] }]) => [name, secrets.map((file) => secretIn(files.bytes(file)))])),
    tokens: Object.fromEntries(Object.entries(config.tokens).map(([name, issuer]) => [name, keySource(issuer, files)])),
    sinks: Object.fromEntries(config.audit.sinks.flatMap((sink) => (sink.kind === 'file' ? [] : [[sink.name, upstreamMaterial(sink, files)]]))),
    ...(config.audit.anchor?.syslog === undefined ? {} : { anchor: upstreamMaterial(config.audit.anchor.syslog, files) }),
    tokenKeys: files.tokens(),
    alarmChannels: Object.fromEntries(config.alarms?.channels.map((channel) => [channel.name, channelMaterial(channel, files)]) ?? []),
    ...(config.store === undefined ? {} : { store: storeMaterial(config.store, files) }),
    ...(config.tracing === undefined ? {} : { tracing: tracingMaterial(config.tracing, files) }),
    ...(config.routes.some(({ require }) => require.second_factor !== undefined) ? { secondFactor: secondFactorMaterial(config.second_factor, files) } : {}),
  };
}

/** Where files of other things cannot be taken: whom clients are trusted by as it was read, and everything else as it is in force. */
export function withTrust(before: Snapshot, files: CheckedFiles): Snapshot {
  const { config } = before;
  const listeners = config.listeners.flatMap((listener) => {
    const held = before.listeners[listener.name];
    return listener.protocol === 'redirect' || held === undefined ? [] : [[listener.name, { ...held, realms: realmsOf(listener, files) }] as const];
  });
  const { authorities, bundles } = authoritiesOf(config, files);
  return { ...before, listeners: { ...before.listeners, ...Object.fromEntries(listeners) }, authorities, bundles: { ...before.bundles, ...bundles } };
}

function authoritiesOf(config: Config, files: CheckedFiles): Pick<Snapshot, 'authorities' | 'bundles'> {
  const references = fileReferences(config);
  return {
    authorities: Object.fromEntries(references.filter(({ use }) => use === 'authorities').map(({ name }) => [name, files.certificates('authorities', name).map(({ der }) => der)])),
    bundles: Object.fromEntries(references.flatMap(({ use, name }) => {
      const bundle = files.bundle(use, name);
      return bundle === undefined ? [] : [[name, bundle]];
    })),
  };
}

function channelMaterial(channel: AlarmChannelConfig, files: CheckedFiles): AlarmChannelMaterial {
  const file = channel.kind === 'webhook' ? channel.secret_file : channel.kind === 'mail' ? channel.password_file : undefined;
  const tls = upstreamMaterial(channel, files);
  if (file === undefined) return tls;
  return { ...tls, secret: channel.kind === 'webhook' ? secretIn(files.bytes(file)) : files.bytes(file) };
}

function keySource({ jwks: { url, trust = [], file } }: TokenConfig, files: CheckedFiles): KeySource {
  if (file !== undefined) return { kind: 'file', id: `file ${file}`, file, keys: files.keys(file) };
  const anchors = trustPem(trust, files);
  return { kind: 'url', id: `url ${url} ${createHash('sha256').update(anchors).digest('hex')}`, url: url ?? '', trust: anchors };
}

function storeMaterial({ redis, prefix, password_file, key_file, trust }: StoreConfig, files: CheckedFiles): StoreMaterial {
  return {
    url: redis,
    prefix,
    ...(password_file === undefined ? {} : { password: Buffer.from(files.bytes(password_file)).toString('utf8') }),
    ...(key_file === undefined ? {} : { key: files.bytes(key_file) }),
    ...(trust === undefined ? {} : { trust: trustPem(trust, files) }),
  };
}

function tracingMaterial(tracing: TracingConfig, files: CheckedFiles): TracingMaterial {
  const { trust, authorization_file } = tracing;
  return {
    ...(trust === undefined ? {} : { trust: trustPem(trust, files) }),
    ...presented(tracing, files),
    ...(authorization_file === undefined ? {} : { authorization: Buffer.from(files.bytes(authorization_file)).toString('utf8') }),
  };
}

function secondFactorMaterial({ key_file, previous_key_files, sms }: SecondFactorConfig, files: CheckedFiles): SecondFactorMaterial {
  return { keys: [...(key_file === undefined ? [] : [key_file]), ...previous_key_files].map((file) => files.bytes(file)), ...(sms === undefined ? {} : { sms: smsTarget(sms, files) }) };
}

function smsTarget(sms: NonNullable<SecondFactorConfig['sms']>, files: CheckedFiles): SmsTarget {
  const { url, trust, secret_file, template, timeout } = sms;
  return { url, template, timeout, trust: trustPem(trust, files), secret: files.bytes(secret_file), ...presented(sms, files) };
}

function listenerMaterial(listener: Exclude<ListenerConfig, { protocol: 'redirect' }>, files: CheckedFiles): ListenerMaterial {
  const secret = listener.tls.session_tickets.secret_file;
  return {
    certificates: listener.tls.certificates.flatMap((own) => {
      const pair = files.pair(own);
      return pair === undefined ? [] : [serverCertificate(fileOf(own), pair.chain, pair.key)];
    }),
    roots: (listener.tls.roots ?? []).flatMap((file) => files.certificates('upstream-trust', file)).map(({ der }) => der),
    ...(secret === undefined ? {} : { ticketSecret: files.bytes(secret) }),
    realms: realmsOf(listener, files),
  };
}

function realmsOf({ client_auth: { trust, intermediates, names } }: Exclude<ListenerConfig, { protocol: 'redirect' }>, files: CheckedFiles): readonly Realm[] {
  return [makeRealm('', trust, intermediates, files), ...Object.entries(names).map(([name, realm]) => makeRealm(name, realm.trust, [...intermediates, ...realm.intermediates], files))];
}

function serverCertificate(file: string, chain: Chain, key: string): ServerCertificate {
  return { certificate: chain.pem, key, names: chain.names, keyType: chain.keyType, file, sha256: chain.leaf.sha256, notAfter: chain.leaf.notAfter, ocsp: chain.leaf.ocspResponders.length > 0 };
}

function makeRealm(name: string, trust: readonly string[], intermediates: readonly string[], files: CheckedFiles): Realm {
  const once = (use: FileUse, names: readonly string[]) => {
    const certificates = names.flatMap((file) => files.certificates(use, file).map((certificate) => ({ file, certificate })));
    return [...new Map(certificates.toReversed().map((one) => [one.certificate.sha256, one])).values()].toReversed();
  };
  const anchors = once('client-trust', trust);
  return { name, anchors: anchors.map(({ certificate }) => certificate.der), from: anchors.map(({ file }) => file), intermediates: once('intermediates', intermediates).map(({ certificate }) => certificate.der) };
}

function upstreamMaterial(upstream: Pick<UpstreamConfig, 'tls'>, files: CheckedFiles): UpstreamMaterial {
  return { trust: trustPem(upstream.tls.trust, files), ...presented(upstream.tls, files) };
}

/** The gateway's own certificate and key, where it is to show one. */
function presented(own: OwnPairConfig, files: CheckedFiles): { readonly certificate?: string; readonly key?: string } {
  const pair = files.pair(own);
  return pair === undefined ? {} : { certificate: pair.chain.pem, key: pair.key };
}

function trustPem(trust: readonly string[], files: CheckedFiles): string {
  return trust.flatMap((file) => files.certificates('upstream-trust', file)).map((anchor) => encodePem(anchor.der)).join('');
}
