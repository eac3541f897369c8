import { pino } from 'pino';
import { formatAddress } from '../config/addresses.ts';
import { ConfigurationError, createGateway, type Gateway, type Release } from '../gateway.ts';
import { predecessor, startSuccessor, type Successor } from './successor.ts';

type Print = (text: string) => void;

/** The answer to who asked for the upgrade leaves before anything is closed. */
const ANSWERED_MS = 100;
/** How long the process that takes over may take from there on, as long as it gives signs of life. */
const SERVES_MS = 90_000;

/**
 * Runs a gateway until SIGTERM or SIGINT, or until another release has taken over; SIGHUP reloads. Prints `pid N`, then a line for each bound listener to
 * stdout once it serves; the log goes to stderr. Resolves with the exit code.
 */
export async function run(options: { config: string; logLevel: string }, print: Print, env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const log = pino({ level: options.logLevel }, pino.destination({ dest: 2, sync: true }));
  let gateway: Gateway | undefined;
  let successor: Successor | undefined;
  let upgrading = false;
  let grace = 0;
  let ending = Promise.withResolvers<'signal' | 'upgrade'>();
  const over = new AbortController();
  const stop = (): void => {
    over.abort(new Error('this gateway was told to end'));
    ending.resolve('signal');
  };
  const reload = (): void => void gateway?.reload().catch(() => undefined);
  const upgrade = async (release: Release): Promise<{ readonly pid: number }> => {
    if (upgrading || gateway === undefined) throw new Error('another release is taking over already');
    upgrading = true;
    ({ grace } = release);
    try {
      successor = await startSuccessor(release, await gateway.listening(), env, over.signal);
    } catch (error) {
      upgrading = false;
      throw error;
    }
    setTimeout(() => ending.resolve('upgrade'), ANSWERED_MS);
    return { pid: successor.pid };
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', reload);
  try {
    for (let before = predecessor(env); ; before = undefined) {
      gateway = await createGateway({ config: options.config, log, upgrade, ...(before === undefined ? {} : { takeOver: before }) });
      announce(gateway, print);
      before?.serves();
      if (await ending.promise === 'signal') {
        log.info({}, 'draining');
        await gateway.stop();
        return 0;
      }
      log.info({ pid: successor?.pid }, 'another release takes over');
      await gateway.stop(grace);
      const outcome = await successor?.outcome(SERVES_MS);
      if (outcome?.kind === 'serves' || over.signal.aborted) return 0;
      log.error({ pid: successor?.pid, why: outcome?.why }, 'the other release does not serve; this one starts again');
      upgrading = false;
      ending = Promise.withResolvers();
    }
  } catch (error) {
    process.stderr.write(`${error instanceof ConfigurationError ? error.message : `wardgate: cannot start: ${(error as Error).message}`}\n`);
    return 1;
  } finally {
    process.off('SIGTERM', stop);
    process.off('SIGINT', stop);
    process.off('SIGHUP', reload);
  }
}

function announce(gateway: Gateway, print: Print): void {
  print(`pid ${process.pid}`);
  for (const listener of gateway.listeners) print(`listening ${listener.name} ${formatAddress(listener)}`);
  if (gateway.metrics !== undefined) print(`listening metrics ${formatAddress(gateway.metrics)}`);
}
