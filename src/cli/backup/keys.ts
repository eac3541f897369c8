import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { readHeader } from '../../backup/container.ts';
import { keyMark, makeOwnKey, readHolder, readKeyFile } from '../../backup/lock.ts';
import { survey } from '../../backup/survey.ts';
import { printable } from '../../config/issue.ts';
import { counted } from '../counted.ts';
import { usage } from '../usage.ts';
import { close, onRecord, openFile, placesOf, sizeText, unlocked, type OpenOptions } from './ground.ts';
import { passphrasesOf, type PassphraseOptions } from './passphrase.ts';

/** `wardgate backup keys new`: NAME.pub to hand out and NAME.key to keep; never over others. */
export async function newKey(prefix: string, options: PassphraseOptions & { readonly json?: boolean; readonly name?: string }, print: (text: string) => void): Promise<number> {
  const name = options.name ?? basename(prefix);
  if (!/^[\p{L}\p{N}][\p{L}\p{N} ._@-]{0,99}$/u.test(name)) return usage(`--name: ${JSON.stringify(name)} is no name of letters, digits, spaces and . _ @ -`);
  const { publicLine, file, holder } = makeOwnKey(name, await passphrasesOf(options).fresh(`Passphrase for ${prefix}.key`));
  writeFileSync(`${prefix}.key`, file, { flag: 'wx', mode: 0o600, flush: true });
  writeFileSync(`${prefix}.pub`, publicLine, { flag: 'wx', mode: 0o644, flush: true });
  print(options.json === true ? JSON.stringify({ name, public: `${prefix}.pub`, private: `${prefix}.key`, key: holder.key.toString('hex') }) : `${prefix}.pub  hand this out (${keyMark(holder.key)})\n${prefix}.key  keep this, with its passphrase, away from the gateway`);
  return 0;
}

/** `wardgate backup keys show`: whose key a file is; both kinds. */
export async function showKey(path: string, options: { readonly json?: boolean }, print: (text: string) => void): Promise<number> {
  const text = readFileSync(path, 'utf8');
  const isPrivate = text.startsWith('{');
  const found = isPrivate ? { name: readKeyFile(text, path).name, mark: keyMark(Buffer.from((JSON.parse(text) as { public: string }).public, 'base64')) } : { name: readHolder(text, path).name, mark: keyMark(readHolder(text, path).key) };
  print(options.json === true ? JSON.stringify({ ...found, private: isPrivate }) : `${isPrivate ? 'private' : 'public'} key ${found.mark} of ${found.name}`);
  return 0;
}

/** `wardgate backup inspect`: what opens it, without opening it; with --list what is in it. */
export async function inspect(path: string, options: OpenOptions & { readonly config: string; readonly json?: boolean; readonly list?: boolean; readonly who: string }, print: (text: string) => void): Promise<number> {
  const file = openFile(path);
  try {
    const { made, lock } = readHeader(file.file);
    const by = lock.kind === 'passphrase'
      ? { facts: { kind: lock.kind, kdf: `scrypt N=${lock.N} r=${lock.r} p=${lock.p}` }, text: `a passphrase (scrypt N=${lock.N} r=${lock.r} p=${lock.p})` }
      : { facts: { kind: lock.kind, need: lock.need, holders: lock.shares.map(({ name, key }) => ({ name, key: keyMark(key) })) }, text: `${lock.need} of ${lock.shares.map(({ name, key }) => `${name} (${keyMark(key)})`).join(', ')}` };
    const lines = [`${path}: made ${made}`, `SHA-256 ${file.sha256}`, `opened by ${by.text}`];
    if (options.list !== true) {
      print(options.json === true ? JSON.stringify({ file: path, made, sha256: file.sha256, lock: by.facts }) : [...lines, 'nobody has vouched for this: --list opens it'].map(printable).join('\n'));
      return 0;
    }
    const { manifest, entries } = survey((await unlocked(file, path, options)).chunks());
    const recorded = await onRecord(placesOf(options.config), options.who, `opened the backup of ${manifest.made} with SHA-256 ${file.sha256} to list it`);
    if (options.json === true) print(JSON.stringify({ file: path, made, sha256: file.sha256, lock: by.facts, manifest, entries: entries.map(({ name, ...same }) => ({ path: `/${name}`, ...same })), recorded }));
    else {
      print([
        ...lines, `of ${manifest.host}, wardgate ${manifest.wardgate}, ${manifest.configuration}, ${manifest.audit.segments ? 'with' : 'without'} the audit`,
        ...entries.map(({ name, kind, size, mode, uid, gid }) => `${mode.toString(8).padStart(4, '0')} ${uid}:${gid} ${kind === 'file' ? sizeText(size).padStart(12) : ' '.repeat(12)} /${name}`), counted(entries.length, 'entry', 'entries'),
      ].map(printable).join('\n'));
    }
    return 0;
  } finally {
    close(file);
  }
}
