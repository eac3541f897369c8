import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, untilListening } from './programs.ts';

const MODULES = ['/usr/lib/x86_64-linux-gnu/rsyslog', '/usr/lib/aarch64-linux-gnu/rsyslog'];

/** Whether rsyslogd and its TLS driver are installed on this machine. */
export const rsyslogInstalled = spawnSync('/usr/sbin/rsyslogd', ['-v']).status === 0 && MODULES.some((directory) => existsSync(join(directory, 'lmnsd_ossl.so')));

export interface Rsyslog {
  readonly port: number;
  /** Messages as they came, each without its frame. */
  messages(): readonly string[];
  /** What of each message is behind its head, as rsyslog reads it: MSGID and MSG. */
  parsed(): readonly { readonly id: string; readonly text: string }[];
  /** Ends it in order. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/**
 * Starts a real rsyslogd that takes syslog over TLS from clients whose certificate is of `ca.pem` and for gateway.internal; `directory` holds ca.pem,
 * server.pem and server.key.
 */
export async function startRsyslog(directory: string): Promise<Rsyslog> {
  const port = await freePort();
  const path = (name: string): string => join(directory, name);
  writeFileSync(path('rsyslog.conf'), `
global(workDirectory="${directory}" maxMessageSize="64k" defaultNetstreamDriverCAFile="${path('ca.pem')}"
  defaultNetstreamDriverCertFile="${path('server.pem')}" defaultNetstreamDriverKeyFile="${path('server.key')}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/name" permittedPeer=["gateway.internal"])
input(type="imtcp" port="${port}" address="127.0.0.1")
template(name="whole" type="string" string="%rawmsg-after-pri%\\n")
template(name="parts" type="list" option.jsonf="on") { property(outname="id" name="msgid" format="jsonf") property(outname="text" name="msg" format="jsonf") }
action(type="omfile" file="${path('whole.log')}" template="whole")
action(type="omfile" file="${path('parts.log')}" template="parts")
`);
  const lines = (name: string): readonly string[] => (existsSync(path(name)) ? readFileSync(path(name), 'utf8').split('\n').slice(0, -1) : []);
  let child: ReturnType<typeof spawn> | undefined;
  async function start(): Promise<void> {
    child = spawn('/usr/sbin/rsyslogd', ['-n', '-C', '-f', path('rsyslog.conf'), '-i', path('rsyslog.pid')], { stdio: 'ignore' });
    await untilListening(port, child);
  }
  async function stop(): Promise<void> {
    const running = child;
    if (running === undefined || running.exitCode !== null) return;
    const ended = new Promise((done) => running.on('close', done));
    running.kill('SIGTERM');
    await ended;
  }
  await start();
  return {
    port, start, stop,
    messages: () => lines('whole.log'),
    parsed: () => lines('parts.log').map((line) => JSON.parse(line) as { id: string; text: string }),
  };
}
