import { pino } from 'pino';
import { ConfigurationError, createGateway, type Gateway } from '../gateway.ts';

/**
 * Runs a gateway until SIGTERM or SIGINT; SIGHUP reloads. Prints `pid N`, then a line for each bound listener to stdout
 * once it serves; the log goes to stderr. Resolves with the exit code.
 */
export async function run(options: { config: string; logLevel: string }, print: (text: string) => void): Promise<number> {
  const log = pino({ level: options.logLevel }, pino.destination({ dest: 2, sync: true }));
  let gateway: Gateway | undefined;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const stop = (): void => end();
  const reload = (): void => void gateway?.reload().catch(() => undefined);
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', reload);
  try {
    gateway = await createGateway({ config: options.config, log });
  } catch (error) {
    const text = error instanceof ConfigurationError ? error.message : `wardgate: cannot start: ${(error as Error).message}`;
    process.stderr.write(`${text}\n`);
    return 1;
  }
  print(`pid ${process.pid}`);
  for (const { name, host, port } of gateway.listeners) print(`listening ${name} ${host.includes(':') ? `[${host}]` : host}:${port}`);
  if (gateway.metrics !== undefined) print(`listening metrics ${gateway.metrics.host}:${gateway.metrics.port}`);
  await ended;
  log.info({}, 'draining');
  await gateway.stop();
  process.off('SIGTERM', stop);
  process.off('SIGINT', stop);
  process.off('SIGHUP', reload);
  return 0;
}
