import type { Path } from './issue.ts';
import { lookUp } from './schema-faults.ts';
import { isTokenUri, readTokenUri } from './token-keys.ts';

/** What a file that the configuration names is for. */
export type FileUse = 'server-certificate' | 'client-certificate' | 'key' | 'token-key' | 'token-pin' | 'server-pkcs12' | 'client-pkcs12' | 'passphrase' | 'client-trust' | 'upstream-trust' | 'intermediates' | 'authorities' | 'ticket-secret' | 'secret' | 'password' | 'crl' | 'inventory' | 'key-set';

/** One place that names a file, or a key in a token; `name` is as written there. */
export interface FileReference {
  readonly path: Path;
  readonly use: FileUse;
  readonly name: string;
  /** What a key or a PKCS#12 file is opened with, where something is named. */
  readonly passphrase?: PassphraseSource;
}

/** Where a passphrase comes from, as written. */
export type PassphraseSource =
  | { readonly kind: 'file'; readonly path: Path; readonly name: string }
  | { readonly kind: 'command'; readonly path: Path; readonly argv: readonly string[] };

/** Every file the plain values of a configuration name, found even when other parts of it are wrong. */
export function fileReferences(value: unknown): readonly FileReference[] {
  return [
    ...indexes(value, ['listeners']).flatMap((listener) => listenerFiles(value, listener)),
    ...indexes(value, ['roles']).flatMap((role) => [role, ...indexes(value, [...role, 'also'])]).flatMap((owner) => named(value, [...owner, 'match', 'trust'], 'authorities')),
    ...indexes(value, ['admin', 'roles']).flatMap((role) => named(value, [...role, 'match', 'trust'], 'authorities')),
    ...indexes(value, ['routes']).flatMap((route) => named(value, [...route, 'require', 'trust'], 'authorities')),
    ...keys(value, ['trust_domains']).flatMap((domain) => named(value, [...domain, 'trust'], 'authorities')),
    ...named(value, ['revocation', 'crl', 'files'], 'crl'),
    ...named(value, ['devices', 'inventory'], 'inventory'),
    ...keys(value, ['webhooks']).flatMap((webhook) => named(value, [...webhook, 'secrets'], 'secret')),
    ...keys(value, ['tokens']).flatMap((issuer) => [...named(value, [...issuer, 'jwks', 'file'], 'key-set'), ...named(value, [...issuer, 'jwks', 'trust'], 'upstream-trust')]),
    ...indexes(value, ['audit', 'sinks']).flatMap((sink) => upstreamFiles(value, [...sink, 'tls'])),
    ...upstreamFiles(value, ['audit', 'anchor', 'syslog', 'tls']),
    ...indexes(value, ['alarms', 'channels']).flatMap((channel) => [...upstreamFiles(value, [...channel, 'tls']), ...named(value, [...channel, 'secret_file'], 'secret'), ...named(value, [...channel, 'password_file'], 'password')]),
    ...named(value, ['store', 'password_file'], 'password'),
    ...named(value, ['store', 'key_file'], 'secret'),
    ...named(value, ['store', 'trust'], 'upstream-trust'),
    ...named(value, ['tracing', 'authorization_file'], 'password'),
    ...upstreamFiles(value, ['tracing']),
    ...named(value, ['second_factor', 'key_file'], 'secret'),
    ...named(value, ['second_factor', 'previous_key_files'], 'secret'),
    ...named(value, ['second_factor', 'sms', 'secret_file'], 'secret'),
    ...upstreamFiles(value, ['second_factor', 'sms']),
    ...keys(value, ['upstreams']).flatMap((upstream) => upstreamFiles(value, [...upstream, 'tls'])),
  ];
}

function listenerFiles(value: unknown, listener: Path): FileReference[] {
  const auth = [...listener, 'client_auth'];
  return [
    ...indexes(value, [...listener, 'tls', 'certificates']).flatMap((pair) => pairFiles(value, pair, 'server')),
    ...named(value, [...listener, 'tls', 'roots'], 'upstream-trust'),
    ...named(value, [...listener, 'tls', 'session_tickets', 'secret_file'], 'ticket-secret'),
    ...trustFiles(value, auth),
    ...named(value, [...auth, 'forwarded', 'by', 'trust'], 'authorities'),
    ...keys(value, [...auth, 'names']).flatMap((realm) => trustFiles(value, realm)),
  ];
}

function trustFiles(value: unknown, realm: Path): FileReference[] {
  return [...named(value, [...realm, 'trust'], 'client-trust'), ...named(value, [...realm, 'intermediates'], 'intermediates')];
}

function upstreamFiles(value: unknown, tls: Path): FileReference[] {
  return [
    ...named(value, [...tls, 'trust'], 'upstream-trust'),
    ...pairFiles(value, tls, 'client'),
  ];
}

/** A certificate of the gateway's own and its key, in one file or in two. */
function pairFiles(value: unknown, owner: Path, purpose: 'server' | 'client'): FileReference[] {
  const passphrase = passphraseAt(value, owner);
  const opened = (reference: FileReference): FileReference => (passphrase === undefined ? reference : { ...reference, passphrase });
  return [
    ...named(value, [...owner, 'certificate'], `${purpose}-certificate`),
    ...named(value, [...owner, 'key'], 'key').map(opened).flatMap((key) => (isTokenUri(key.name) ? tokenFiles(key) : [key])),
    ...named(value, [...owner, 'pkcs12'], `${purpose}-pkcs12`).map(opened),
    ...named(value, [...owner, 'passphrase_file'], 'passphrase'),
  ];
}

/** A key in a token, and the file of its PIN. */
function tokenFiles(key: FileReference): FileReference[] {
  const read = readTokenUri(key.name);
  const pin = read.kind === 'ok' && read.pinFile !== undefined ? [{ path: key.path, use: 'token-pin' as const, name: read.pinFile }] : [];
  return [{ ...key, use: 'token-key' }, ...pin];
}

function passphraseAt(value: unknown, owner: Path): PassphraseSource | undefined {
  const [inFile, byCommand]: readonly [Path, Path] = [[...owner, 'passphrase_file'], [...owner, 'passphrase_command']];
  const [name, argv] = [lookUp(value, inFile), lookUp(value, byCommand)];
  if (typeof name === 'string') return { kind: 'file', path: inFile, name };
  const words = Array.isArray(argv) && argv.length > 0 && argv.every((word) => typeof word === 'string');
  return words ? { kind: 'command', path: byCommand, argv } : undefined;
}

/** The file names at a key that holds one or a list of them. */
function named(value: unknown, path: Path, use: FileUse): FileReference[] {
  const found = lookUp(value, path);
  const places = Array.isArray(found) ? found.map((name: unknown, index) => ({ name, path: [...path, index] })) : [{ name: found, path }];
  return places.flatMap(({ name, path: place }) => (typeof name === 'string' && name !== '' && !name.includes('\0') ? [{ path: place, use, name }] : []));
}

function indexes(value: unknown, path: Path): readonly Path[] {
  const found = lookUp(value, path);
  return Array.isArray(found) ? found.map((_, index) => [...path, index]) : [];
}

function keys(value: unknown, path: Path): readonly Path[] {
  const found = lookUp(value, path);
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? Object.keys(found).map((key) => [...path, key]) : [];
}
