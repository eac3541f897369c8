import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { CaServer, EstOptions } from '../../ca-server.ts';
import { refuseOpenFile } from '../../ca/key-file.ts';
import type { Office } from '../../ca/office.ts';
import { formatAddress, parseAddress } from '../../config/addresses.ts';
import { parseDuration } from '../../config/values.ts';
import type { Address } from '../../est-server.ts';
import type { Log } from '../../log.ts';
import type { CommandGround } from '../ground.ts';
import { WrongUsage } from '../usage.ts';
import { compareHead } from './head.ts';
import { openCa, type CaOptions, type Print } from './place.ts';

export interface ServeOptions extends CaOptions {
  readonly listen: string;
  readonly crlEvery: string;
  readonly ocspValidity: string;
  readonly est?: string;
  readonly estCert?: string;
  readonly estKey?: string;
  readonly estTrust?: string;
  readonly estGateway?: readonly string[];
  readonly estCrl?: readonly string[];
  readonly renewFrom: string;
}

/** Adds `serve` to `wardgate ca`. */
export function addServeCommand(ca: Command, { configOption, user, print, settle }: CommandGround): void {
  ca.command('serve').description("publish CRLs, OCSP answers and the CA's certificates over plain HTTP, and be the EST server behind a gateway")
    .option(...configOption)
    .option('--dir <dir>', 'the directory of the CA (default: ca in the state directory of the configuration)')
    .option('--passphrase-file <file>', 'holds the passphrase of the issuing key')
    .option('--passphrase-command <command>', 'prints it: a program and its arguments, without a shell')
    .option('--who <name>', 'on whose behalf', user)
    .option('--listen <host:port>', 'where to publish', '127.0.0.1:8889')
    .option('--crl-every <duration>', 'a new CRL at least so often; one is signed at once when something was revoked', '24h')
    .option('--ocsp-validity <duration>', 'how long an OCSP answer holds', '1h')
    .option('--est <host:port>', 'where gateways reach EST, over TLS (default: no EST)')
    .option('--est-cert <file>', 'the certificate of the EST server with its chain, PEM')
    .option('--est-key <file>', 'its private key, PEM')
    .option('--est-trust <file>', "the CAs of the gateways' client certificates, PEM")
    .option('--est-gateway <name>', 'the DNS name, or the SHA-256 fingerprint, of the certificate of a gateway that may speak for devices; as often as needed', (value: string, before: readonly string[] = []) => [...before, value])
    .option('--est-crl <file|url>', "a CRL about gateways' certificates of other CAs; as often as needed. Gateways of which the lists in force say nothing are refused then", (value: string, before: readonly string[] = []) => [...before, value])
    .option('--renew-from <percent>', 'how much of its lifetime may be left of a certificate that renews itself', '34%')
    .addHelpText('after', `
Examples:
  wardgate ca serve --passphrase-file ca.pass --listen 10.1.0.5:80
  wardgate ca serve --passphrase-command 'systemd-creds cat ca.pass' --est 127.0.0.1:9444 \\
    --est-cert est.pem --est-key est.key --est-trust backend-ca.pem --est-gateway gateway.internal

docs/publishing.md, docs/est.md`)
    .action(settle((options: ServeOptions) => serveCommand(options, print)));
}

/** `wardgate ca serve`: until SIGTERM or SIGINT; prints `pid N` and a line for each address once it serves. Resolves with the exit code. */
async function serveCommand(options: ServeOptions, print: Print): Promise<number> {
  const publish = addressOf('--listen', options.listen);
  const est = estOf(options);
  const [crlEvery, ocspValidity] = [durationOf('--crl-every', options.crlEvery), durationOf('--ocsp-validity', options.ocspValidity)];
  const [{ pino }, { startCaServer }] = await Promise.all([import('pino'), import('../../ca-server.ts')]);
  const log = pino({ level: 'info' }, pino.destination({ dest: 2, sync: true }));
  const ended = Promise.withResolvers<void>();
  const onSignal = (): void => ended.resolve();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const office = await openCa(options, { key: true });
  let server: CaServer | undefined;
  try {
    tellRolledBack(options, office, log);
    server = await startCaServer({ office, publish, crlEvery, ocspValidity, log, ...(est === undefined ? {} : { est }) });
    print(`pid ${process.pid}`);
    print(`listening publish ${formatAddress(server.publish)}`);
    if (server.est !== undefined) print(`listening est ${formatAddress(server.est)}`);
    await ended.promise;
    return 0;
  } finally {
    await server?.stop();
    office.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

/** Of the newest segments of the audit: a start must not wait for years of records to be read. */
const NEWEST = 64;

function tellRolledBack(options: ServeOptions, office: Office, log: Log): void {
  try {
    const { fault } = compareHead(options, office, NEWEST);
    if (fault !== undefined) log.error({ fault }, 'the CA is not the one that the gateway knows; see wardgate ca verify');
  } catch (error) {
    log.warn({ error: (error as Error).message }, 'what the gateway has on record of the CA could not be read');
  }
}

function estOf({ est, estCert, estKey, estTrust, estGateway, estCrl, renewFrom }: ServeOptions): EstOptions | undefined {
  if (est === undefined) return undefined;
  if (estCert === undefined || estKey === undefined || estTrust === undefined || estGateway === undefined) {
    throw new WrongUsage('--est needs --est-cert, --est-key, --est-trust and --est-gateway: without them anybody could speak for any device');
  }
  const percent = /^([1-9]\d?)%$/.exec(renewFrom)?.[1];
  if (percent === undefined) throw new WrongUsage(`--renew-from: "${renewFrom}" is none; expected such as 34%`);
  refuseOpenFile(estKey);
  const read = (file: string): string => readFileSync(file, 'utf8');
  return { address: addressOf('--est', est), certificate: read(estCert), key: read(estKey), trust: read(estTrust), gateways: estGateway, window: Number(percent) / 100, ...(estCrl === undefined ? {} : { crls: estCrl }) };
}

/** Throws WrongUsage. */
export function addressOf(option: string, text: string): Address {
  const found = parseAddress(text);
  if (found === undefined) throw new WrongUsage(`${option}: "${text}" is no address; expected such as 127.0.0.1:8889 or [::1]:8889`);
  return found;
}

function durationOf(option: string, text: string): number {
  const found = parseDuration(text);
  if (!found) throw new WrongUsage(`${option}: "${text}" is no duration above zero; expected such as 1h or 24h`);
  return found;
}
