import { execFile, execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Issued } from '../../src/ca/issue.ts';
import { freePort } from './programs.ts';

const run = promisify(execFile);

export interface DatabaseServer {
  readonly port: number;
  /** Restarts the server with another certificate, or without TLS. */
  serve(certificate: Issued | undefined): Promise<void>;
  stop(): Promise<void>;
}

/** Paths of the programs by name, or undefined when one is missing. Debian keeps some of them out of PATH. */
export function findPrograms<Name extends string>(...names: readonly Name[]): Readonly<Record<Name, string>> | undefined {
  const postgresql = '/usr/lib/postgresql';
  const versions = existsSync(postgresql) ? readdirSync(postgresql).map((version) => join(postgresql, version, 'bin')) : [];
  const folders = [...versions, ...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/bin'];
  const found = names.map((name) => [name, folders.map((folder) => join(folder, name)).find((path) => existsSync(path))] as const);
  return found.every(([, path]) => path !== undefined) ? (Object.fromEntries(found) as Record<Name, string>) : undefined;
}

interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Both servers refuse to run as root: then their package's own user runs them. */
function accountOf(user: string): Account {
  if (userInfo().uid !== 0) return { uid: userInfo().uid, gid: userInfo().gid };
  const id = (flag: string) => Number(execFileSync('id', [flag, user], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

interface Layout {
  readonly account: Account;
  readonly folder: string;
  /** Creates the data directory and whatever else is done once. */
  prepare(folder: string): Promise<void>;
  command(folder: string, port: number, tls: { certificate: string; key: string } | undefined): readonly [program: string, ...args: readonly string[]];
  readonly ready: RegExp;
  readonly stopSignal: NodeJS.Signals;
}

async function startServer(layout: Layout): Promise<DatabaseServer> {
  const { account, folder } = layout;
  await chown(folder, account.uid, account.gid);
  await layout.prepare(folder);
  const port = await freePort();
  let child: ChildProcess | undefined;

  const stop = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(layout.stopSignal);
    await ended;
  };
  const serve = async (certificate: Issued | undefined): Promise<void> => {
    await stop();
    const files = certificate === undefined ? undefined : { certificate: join(folder, 'server.pem'), key: join(folder, 'server.key') };
    if (certificate !== undefined && files !== undefined) {
      for (const [file, content] of [[files.certificate, certificate.chain], [files.key, certificate.key]] as const) {
        await writeFile(file, content, { mode: 0o600 });
        await chmod(file, 0o600);
        await chown(file, account.uid, account.gid);
      }
    }
    const [program, ...args] = layout.command(folder, port, files);
    child = spawn(program, args, { ...account, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' } });
    await untilReady(child, layout.ready);
  };
  return {
    port, serve,
    async stop() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function untilReady(child: ChildProcess, ready: RegExp): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (ready.test(log)) resolve();
  });
  child.once('error', reject);
  child.once('exit', (code) => reject(new Error(`${child.spawnfile} ended with ${code}: ${log}`)));
  await promise;
}

export interface Credentials {
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** MariaDB on loopback, not yet serving. */
export async function prepareMariadb(programs: Readonly<Record<'mariadbd' | 'mariadb-install-db', string>>, { user, password, database }: Credentials): Promise<DatabaseServer> {
  const account = accountOf('mysql');
  return startServer({
    account, folder: await mkdtemp(join(tmpdir(), 'wardgate-mariadb-')), stopSignal: 'SIGTERM', ready: /ready for connections/,
    async prepare(folder) {
      await run(programs['mariadb-install-db'], ['--no-defaults', `--datadir=${join(folder, 'data')}`, '--skip-test-db', '--auth-root-authentication-method=normal', '--skip-log-bin'], { ...account, cwd: folder });
      const sql = [`CREATE DATABASE IF NOT EXISTS ${database};`, `CREATE OR REPLACE USER '${user}'@'%' IDENTIFIED BY '${password}';`, `GRANT ALL ON ${database}.* TO '${user}'@'%';`];
      await writeFile(join(folder, 'init.sql'), sql.join('\n'), { mode: 0o644 });
    },
    command: (folder, port, tls) => [
      programs.mariadbd, '--no-defaults', `--datadir=${join(folder, 'data')}`, `--port=${port}`, '--bind-address=127.0.0.1', `--socket=${join(folder, 's.sock')}`,
      `--pid-file=${join(folder, 'pid')}`, `--init-file=${join(folder, 'init.sql')}`, '--skip-name-resolve', '--innodb-buffer-pool-size=16M', '--innodb-log-file-size=8M', '--skip-log-bin',
      ...(tls === undefined ? ['--skip-ssl'] : [`--ssl-cert=${tls.certificate}`, `--ssl-key=${tls.key}`, '--require-secure-transport=ON']),
    ],
  });
}

/** PostgreSQL on loopback, not yet serving. */
export async function preparePostgresql(programs: Readonly<Record<'postgres' | 'initdb', string>>, { user, password, database }: Credentials): Promise<DatabaseServer> {
  const account = accountOf('postgres');
  if (database !== 'postgres') throw new Error('the test server has one database: postgres');
  return startServer({
    account, folder: await mkdtemp(join(tmpdir(), 'wardgate-postgresql-')), stopSignal: 'SIGINT', ready: /database system is ready to accept connections/,
    async prepare(folder) {
      await writeFile(join(folder, 'password'), password, { mode: 0o644 });
      await run(programs.initdb, ['-D', join(folder, 'data'), '-U', user, `--pwfile=${join(folder, 'password')}`, '--auth=scram-sha-256', '--no-sync', '--locale=C', '-E', 'UTF8'], { ...account, cwd: folder });
    },
    command: (folder, port, tls) => [
      programs.postgres, '-D', join(folder, 'data'), '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${folder}`, '-c', 'fsync=off',
      ...(tls === undefined ? [] : ['-c', 'ssl=on', '-c', `ssl_cert_file=${tls.certificate}`, '-c', `ssl_key_file=${tls.key}`]),
    ],
  });
}
