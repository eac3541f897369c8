import { runDemoUntilSignal } from '../demo/demo.ts';

interface DemoOptions {
  readonly port: string;
  readonly database?: string;
  readonly certificates?: string;
}

/** `wardgate demo`: runs until SIGINT or SIGTERM, then leaves nothing but the development PKI. */
export async function demo(options: DemoOptions, print: (text: string) => void): Promise<number> {
  const port = Number(options.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    process.stderr.write(`wardgate: --port: ${JSON.stringify(options.port)} is not a port number\n`);
    return 2;
  }
  await runDemoUntilSignal({
    ports: { gateway: port },
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.certificates === undefined ? {} : { certificates: options.certificates }),
  }, (line) => print(`${line}\n`));
  return 0;
}
