import { isAbsolute, join, relative } from 'node:path';
import { createGateway } from '../gateway.ts';
import { startBackstage, usualPorts } from './backstage.ts';
import type { Backstage, DemoPorts } from './backstage.ts';
import { shellWord, tryLines } from './try-lines.ts';
import type { TryLine } from './try-lines.ts';

export { usualPorts } from './backstage.ts';

/** ms that answers under way get when the demo stops. */
const drainTime = 2_000;

const project = join(import.meta.dirname, '..', '..');

export interface DemoOptions {
  /** Directory of the development PKI; default `certs/demo` of the project. */
  readonly certificates?: string;
  /** Profile of the generator; default `certs/profile.json` of the project. */
  readonly profile?: string;
  /** `sqlite:…`, `mysql://…` or `postgresql://…`; default an SQLite file that goes when the demo ends. */
  readonly database?: string;
  /** Preferred ports; 0 takes a free one. */
  readonly ports?: Partial<DemoPorts>;
  /** Ends the start, if it is still under way. */
  readonly signal?: AbortSignal;
}

export interface RunningDemo {
  readonly ports: DemoPorts;
  /** The gateway's configuration file. */
  readonly config: string;
  readonly lines: readonly TryLine[];
  /** Stops everything and removes all but the PKI. */
  stop(): Promise<void>;
}

/** Runs the whole demo in this process and prints, line by line, what is there and what to try. */
async function runDemo(options: DemoOptions, out: (line: string) => void): Promise<RunningDemo> {
  await using undo = new AsyncDisposableStack();
  const backstage = await startBackstage({
    certificates: options.certificates ?? join(project, 'certs', 'demo'),
    profile: options.profile ?? join(project, 'certs', 'profile.json'),
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.ports === undefined ? {} : { ports: options.ports }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  undo.defer(() => backstage.stop());
  const gateway = await createGateway({ config: backstage.config });
  undo.defer(() => gateway.stop(drainTime));
  options.signal?.throwIfAborted();

  const port = gateway.listeners.find(({ name }) => name === 'clinical')?.port ?? backstage.ports.gateway;
  const lines = tryLines(shown(backstage.pki.directory), port);
  for (const line of description(backstage, port, lines, { ...usualPorts, ...options.ports })) out(line);
  const running = undo.move();
  return { ports: { ...backstage.ports, gateway: port }, config: backstage.config, lines, stop: () => running.disposeAsync() };
}

/** Runs the demo until SIGINT or SIGTERM, then stops it. Resolves when nothing is left but the PKI. */
export async function runDemoUntilSignal(options: Omit<DemoOptions, 'signal'>, out: (line: string) => void): Promise<void> {
  const ending = new AbortController();
  const asked = new Promise<void>((resolve) => ending.signal.addEventListener('abort', () => resolve(), { once: true }));
  // The handlers stay to the end: npm passes on the SIGINT that the terminal has sent us already.
  const end = (): void => ending.abort();
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  try {
    const demo = await runDemo({ ...options, signal: ending.signal }, out);
    await asked;
    out('stopping');
    await demo.stop();
  } catch (error) {
    if (!ending.signal.aborted) throw error;
  } finally {
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
  }
}

/** A path as a command line in the project's folder names it. */
function shown(path: string): string {
  const inside = relative(project, path);
  return inside.startsWith('..') || isAbsolute(inside) ? path : inside;
}

function description(backstage: Backstage, port: number, lines: readonly TryLine[], wanted: DemoPorts): string[] {
  const { pki, profile, ports, folder, config } = backstage;
  const directory = shown(pki.directory);
  const moved = (name: keyof DemoPorts, actual: number) => (wanted[name] === 0 || wanted[name] === actual ? '' : ` (port ${wanted[name]} was taken)`);
  return [
    'Wardgate demo',
    `  certificates   ${directory}${pki.kind === 'reused' ? ', made earlier' : pki.remade === undefined ? ', new' : `, new because ${pki.remade}`}`,
    `  for browsers   ${profile.clients.map(({ file }) => `${file}.p12`).join(' ')}; password ${profile.pkcs12.password}`,
    `  gateway        https://localhost:${port}${moved('gateway', port)}`,
    `  console        https://localhost:${ports.console}/ with operator.p12${moved('console', ports.console)}`,
    `  metrics        http://127.0.0.1:${ports.metrics}/metrics${moved('metrics', ports.metrics)}`,
    `  records API    https://127.0.0.1:${ports.backend}, for the gateway's certificate only, on ${backstage.database}${moved('backend', ports.backend)}`,
    `  OCSP and CRLs  http://127.0.0.1:${ports.responder}/ /root.crl /issuing.crl${moved('responder', ports.responder)}`,
    `  configuration  ${config}`,
    `  audit          ${join(folder, 'state', 'audit')}`,
    '',
    `Try, in another terminal, in ${shellWord(project)}:`,
    ...lines.flatMap(({ does, expect, command }) => ['', `# ${does}: ${expect}`, command]),
    '',
    'Ctrl-C ends it and leaves nothing but the certificates.',
  ];
}
