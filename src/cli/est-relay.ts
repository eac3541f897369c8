import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { operationUrl } from '../ca/est/client.ts';
import { refuseOpenFile } from '../ca/key-file.ts';
import { formatAddress } from '../config/addresses.ts';
import { addressOf } from './ca/serve.ts';
import type { CommandGround } from './ground.ts';
import { WrongUsage } from './usage.ts';

export interface RelayCommandOptions {
  readonly listen: string;
  readonly cert: string;
  readonly key: string;
  readonly trust: string;
  readonly gateway: readonly string[];
  readonly crl?: readonly string[];
  readonly crlNumbers?: string;
  readonly upstream: string;
  readonly upstreamCert: string;
  readonly upstreamKey: string;
  readonly upstreamTrust: string;
  readonly operation: string;
}

export function addEstRelayCommand(program: Command, { print, settle }: CommandGround): void {
  program.command('est-relay').description("stand between gateways and another CA's EST server as a registration authority: what a device asks for is held against its certificate")
    .requiredOption('--listen <host:port>', 'where gateways reach it, over TLS')
    .requiredOption('--cert <file>', 'its server certificate with its chain, PEM')
    .requiredOption('--key <file>', 'the private key, PEM')
    .requiredOption('--trust <file>', "the CAs of the gateways' client certificates, PEM")
    .requiredOption('--gateway <name>', 'the DNS name, or the SHA-256 fingerprint, of the certificate of a gateway that may speak for devices; as often as needed', (value: string, before: readonly string[] = []) => [...before, value])
    .option('--crl <file|url>', "a CRL about these certificates; as often as needed. Gateways of which the lists in force say nothing are refused then", (value: string, before: readonly string[] = []) => [...before, value])
    .option('--crl-numbers <directory>', 'where the numbers of these CRLs are kept, so that none is taken after a restart that is older than one before; made when it is missing')
    .requiredOption('--upstream <url>', 'the EST server of the CA: https://ca.test, or with its path and label')
    .requiredOption('--upstream-cert <file>', 'the client certificate by which the CA knows this registration authority, PEM')
    .requiredOption('--upstream-key <file>', 'its private key, PEM')
    .requiredOption('--upstream-trust <file>', "the CAs of the EST server's certificate, PEM")
    .option('--operation <operation>', 'what the CA is asked with: simpleenroll or simplereenroll', 'simpleenroll')
    .addHelpText('after', `
Example:
  wardgate est-relay --listen 127.0.0.1:9445 --cert est.pem --key est.key --trust backend-ca.pem --gateway gateway.internal \\
    --upstream https://ca.hospital.test/.well-known/est/devices --upstream-cert ra.pem --upstream-key ra.key --upstream-trust ca-root.pem

docs/est.md`)
    .action(settle((options: RelayCommandOptions) => estRelayCommand(options, print)));
}

/** `wardgate est-relay`: until SIGTERM or SIGINT; resolves with the exit code. */
async function estRelayCommand(options: RelayCommandOptions, print: (text: string) => void): Promise<number> {
  const { operation, upstream } = options;
  if (options.crlNumbers !== undefined && options.crl === undefined) throw new WrongUsage('--crl-numbers: goes with --crl');
  if (operation !== 'simpleenroll' && operation !== 'simplereenroll') throw new WrongUsage(`--operation: "${operation}" is none; expected simpleenroll or simplereenroll`);
  if (operationUrl(upstream, 'cacerts') === undefined) throw new WrongUsage(`--upstream: "${upstream}" is no https URL; expected such as https://ca.hospital.test`);
  const read = (file: string): string => readFileSync(file, 'utf8');
  for (const file of [options.key, options.upstreamKey]) refuseOpenFile(file);
  const address = addressOf('--listen', options.listen);
  const place = { address, certificate: read(options.cert), key: read(options.key), trust: read(options.trust), gateways: options.gateway };
  const [{ pino }, { createRelayDesk }, { openGatewayCrls }, { bind, close, estServer }] = await Promise.all([import('pino'), import('../ca/est/relay.ts'), import('../est-crls.ts'), import('../est-server.ts')]);
  const desk = createRelayDesk({ upstream, operation, caller: { certificate: read(options.upstreamCert), key: read(options.upstreamKey), trust: read(options.upstreamTrust) } });
  const log = pino({ level: 'info' }, pino.destination({ dest: 2, sync: true }));
  const ended = Promise.withResolvers<void>();
  const onSignal = (): void => ended.resolve();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const crls = options.crl === undefined ? undefined : await openGatewayCrls({ sources: options.crl, trust: place.trust, ...(options.crlNumbers === undefined ? {} : { directory: options.crlNumbers }), log, now: () => Date.now() });
  const server = estServer(place, desk, log, () => Date.now(), crls?.judge);
  try {
    const bound = await bind(server, address);
    print(`pid ${process.pid}`);
    print(`listening est ${formatAddress(bound)}`);
    await ended.promise;
    return 0;
  } finally {
    crls?.close();
    await close(server);
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}
