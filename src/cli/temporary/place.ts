import { chmodSync, chownSync, copyFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { isIP } from 'node:net';

/** Files of before, and how to have them back. */
export interface Placed {
  readonly kept: readonly string[];
  undo(): void;
}

/** Puts a key and its certificate in the place of others, with their modes and owners; those are kept beside, under `suffix`. */
export function putInPlace({ certificate, key }: { readonly certificate: string; readonly key: string }, pem: { readonly certificate: string; readonly key: string }, suffix: string): Placed {
  const files = [{ file: key, text: pem.key }, { file: certificate, text: pem.certificate }];
  const kept = files.map(({ file }) => `${file}${suffix}`);
  for (const { file } of files) copyFileSync(file, `${file}${suffix}`, 1);
  for (const { file } of files) sameAs(file, `${file}${suffix}`);
  const undo = (): void => {
    for (const { file } of files) renameSync(`${file}${suffix}`, file);
  };
  try {
    for (const { file, text } of files) replace(file, text);
  } catch (error) {
    undo();
    throw error;
  }
  return { kept, undo };
}

function replace(file: string, text: string): void {
  const next = `${file}.new`;
  writeFileSync(next, text, { flag: 'wx', mode: 0o600, flush: true });
  try {
    sameAs(file, next);
    renameSync(next, file);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}

function sameAs(file: string, other: string): void {
  const { mode, uid, gid } = statSync(file);
  if (process.getuid?.() === 0) chownSync(other, uid, gid);
  chmodSync(other, mode & 0o7777);
}

const HANDSHAKE_MS = 5_000;
/** Of several certificates the one of this kind of key is shown to who takes no other. */
const SIGNATURES = { ec: 'ECDSA+SHA256:ECDSA+SHA384', rsa3072: 'rsa_pss_rsae_sha256:RSA+SHA256' } as const;

/** The SHA-256 (hex) of what a server shows under a name, verified by a CA; what is wrong otherwise. */
export function shownBy({ host, port, name, ca, keyType }: { readonly host: string; readonly port: number; readonly name: string; readonly ca: string; readonly keyType: 'ec' | 'rsa3072' }): Promise<{ readonly kind: 'shown'; readonly sha256: string } | { readonly kind: 'failed'; readonly detail: string }> {
  return new Promise((done) => {
    const isAddress = isIP(name) !== 0;
    const socket = connect({ host: reachable(host), port, ca, sigalgs: SIGNATURES[keyType], timeout: HANDSHAKE_MS, ...(isAddress ? { host: name } : { servername: name }) });
    const fail = (detail: string): void => {
      done({ kind: 'failed', detail });
      socket.destroy();
    };
    socket.on('error', (error) => fail(error.message));
    socket.on('timeout', () => fail(`no handshake within ${HANDSHAKE_MS / 1_000} s`));
    socket.on('secureConnect', () => {
      const sha256 = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase();
      if (sha256 === undefined) return fail('no certificate was shown');
      done({ kind: 'shown', sha256 });
      socket.destroy();
    });
  });
}

/** An address to connect to of one that is listened on. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}
