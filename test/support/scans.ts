import { execFile, spawnSync } from 'node:child_process';
import { namesOf, PROFILES, SUITES, type SuiteName, type Version } from '../../src/config/profiles.ts';
import type { TlsProfile } from '../../src/config/schema.ts';

export const PROFILE_NAMES = Object.keys(PROFILES) as readonly TlsProfile[];

/** The suites of a profile by OpenSSL's names, in order. */
export function suitesOf(profile: TlsProfile, version: Version): readonly string[] {
  return namesOf(PROFILES[profile].suites).filter((name: SuiteName) => SUITES[name].version === version).map((name) => SUITES[name].openssl);
}

/** The YAML of one listener a profile, each named after it. */
export function profileListeners(trust: string): string {
  return PROFILE_NAMES.map((profile) => `
  - name: ${profile}
    address: 127.0.0.1:0
    tls: { profile: ${profile}, certificates: [{ certificate: server-ec.pem, key: server-ec.key }, { certificate: server-rsa.pem, key: server-rsa.key }] }
    client_auth: { mode: optional, trust: [${trust}] }`).join('');
}

/** A scan by sslscan: protocols, suites by version in the server's order, groups. */
export interface SslScan {
  readonly protocols: readonly string[];
  readonly suites: Readonly<Record<Version, readonly string[]>>;
  readonly groups: readonly string[];
  readonly compression: boolean;
  readonly renegotiation: boolean;
}

export function hasProgram(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
}

export async function sslscan(port: number, serverName: string): Promise<SslScan> {
  const xml = await output('sslscan', [`--sni-name=${serverName}`, '--no-heartbleed', '--no-fallback', '--no-check-certificate', '--xml=-', `127.0.0.1:${port}`]);
  const suites = [...xml.matchAll(/<cipher [^>]*sslversion="TLSv(1\.\d)"[^>]*cipher="([^"]+)"/g)];
  const of = (version: string) => suites.filter(([, found]) => found === version).map(([, , name = '']) => name);
  return {
    protocols: [...xml.matchAll(/<protocol type="(\w+)" version="([\d.]+)" enabled="1"/g)].map(([, type, version]) => `${type} ${version}`),
    suites: { 'TLS 1.2': of('1.2'), 'TLS 1.3': of('1.3') },
    groups: [...new Set([...xml.matchAll(/<group [^>]*id="(0x\w+)"/g)].map(([, id = '']) => id))].sort(),
    compression: /<compression supported="1"/.test(xml),
    renegotiation: /<renegotiation supported="1"/.test(xml),
  };
}

/** The protocol, suite and group that `openssl s_client` comes to with these arguments; `undefined` when it comes to none. */
export async function negotiate(port: number, serverName: string, args: readonly string[]): Promise<{ readonly protocol: string; readonly suite: string; readonly temporaryKey: string } | undefined> {
  const text = await output('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', serverName, ...args]);
  const [, protocol = '', suite = ''] = /^New, (TLSv[\d.]+), Cipher is (\S+)/m.exec(text) ?? [];
  if (suite === '' || suite === '(NONE)') return undefined;
  return { protocol: /^ *Protocol *: (\S+)/m.exec(text)?.[1] ?? protocol, suite, temporaryKey: /^Server Temp Key: (.+)$/m.exec(text)?.[1] ?? '' };
}

/** What a program prints, whatever its exit status; it gets no input. */
export function output(program: string, args: readonly string[], timeout = 20_000): Promise<string> {
  return new Promise((done, failed) => {
    const child = execFile(program, [...args], { timeout, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if ((error as NodeJS.ErrnoException | null)?.code === 'ENOENT') failed(error);
      else done(stdout + stderr);
    });
    child.stdin?.end();
  });
}
