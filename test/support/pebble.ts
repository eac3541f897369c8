import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import type { TestPki } from './pki.ts';
import { freePort, untilListening } from './programs.ts';

export interface Pebble {
  /** URL of the directory */
  readonly directory: string;
  /** Where it looks for the answers to http-01 challenges, at 127.0.0.1 for every name. */
  readonly httpPort: number;
  /** The root that its certificates end at, another one each time, PEM. */
  root(): Promise<string>;
  output(): string;
  stop(): void;
}

export interface PebbleOptions {
  /** Accounts only for whom it knows. */
  readonly binding?: { readonly kid: string; readonly key: string };
  readonly httpPort?: number;
}

/** Whether the ACME server of Let's Encrypt's makers for tests is there. */
export const pebbleInstalled = spawnSync('pebble', ['-h']).error === undefined;

/** Starts a pebble as strict as it can be, which refuses every fifth good nonce, with a DNS server of its own; its files go into `folder`. */
export async function startPebble(pki: TestPki, folder: string, more: PebbleOptions = {}): Promise<Pebble> {
  const { binding } = more;
  const [port, management, dns, dnsManagement, tlsPort, unused] = await Promise.all(Array.from({ length: 6 }, freePort)) as [number, number, number, number, number, number];
  const httpPort = more.httpPort ?? unused;
  const file = (name: string): string => join(folder, `pebble-${port}-${name}`);
  writeFileSync(file('server.pem'), pki.serverEc.chain);
  writeFileSync(file('server.key'), pki.serverEc.key, { mode: 0o600 });
  writeFileSync(file('config.json'), JSON.stringify({
    pebble: {
      listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`, certificate: file('server.pem'), privateKey: file('server.key'),
      httpPort, tlsPort, ocspResponderURL: '', externalAccountBindingRequired: binding !== undefined,
      ...(binding === undefined ? {} : { externalAccountMACKeys: { [binding.kid]: binding.key } }),
    },
  }));
  const children: ChildProcess[] = [];
  let output = '';
  const start = async (program: string, args: readonly string[], ready: number): Promise<void> => {
    const child = spawn(program, args, { env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '20', PEBBLE_AUTHZREUSE: '0' }, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await untilListening(ready, child);
  };
  await start('pebble-challtestsrv', ['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-dns01', `127.0.0.1:${dns}`, '-http01', '', '-https01', '', '-tlsalpn01', '', '-management', `127.0.0.1:${dnsManagement}`], dnsManagement);
  await start('pebble', ['-strict', '-config', file('config.json'), '-dnsserver', `127.0.0.1:${dns}`], port);
  return {
    directory: `https://localhost:${port}/dir`, httpPort, output: () => output,
    root: () => fetchText(`https://localhost:${management}/roots/0`, pki.root.certificate),
    stop() {
      for (const child of children) child.kill('SIGTERM');
    },
  };
}

function fetchText(url: string, ca: string): Promise<string> {
  return new Promise((done, fail) => {
    get(url, { ca }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => done(text));
    }).on('error', fail);
  });
}
