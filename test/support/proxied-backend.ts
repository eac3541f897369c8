import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { TestPki } from './pki.ts';

/** A PROXY header of version 2, read to the letter. */
export interface SeenHeader {
  readonly command: 'LOCAL' | 'PROXY';
  readonly family: number;
  readonly source?: readonly [address: string, port: number];
  readonly destination?: readonly [address: string, port: number];
  /** Values by type; those of PP2_TYPE_SSL (0x20) are in `ssl`. */
  readonly values: ReadonlyMap<number, string>;
  readonly ssl?: { readonly client: number; readonly verify: number; readonly values: ReadonlyMap<number, string> };
}

const SIGNATURE = '0d0a0d0a000d0a515549540a';

/** Reads a header that begins these octets; undefined while it is not whole. Throws for anything that the specification does not have. */
export function readHeaderStrictly(octets: Buffer): { readonly header: SeenHeader; readonly length: number } | undefined {
  if (octets.length < 16) return undefined;
  if (octets.toString('hex', 0, 12) !== SIGNATURE) throw new Error('no signature');
  const version = octets[12] as number;
  if (version !== 0x20 && version !== 0x21) throw new Error(`version and command ${version}`);
  const family = octets[13] as number;
  const length = 16 + octets.readUInt16BE(14);
  if (octets.length < length) return undefined;
  const command = version === 0x20 ? 'LOCAL' : 'PROXY';
  const addresses = { 0x00: 0, 0x11: 12, 0x21: 36 }[family];
  if (addresses === undefined) throw new Error(`family ${family}`);
  const body = octets.subarray(16, length);
  const width = family === 0x11 ? 4 : 16;
  const written = (at: number): string => (width === 4 ? body.subarray(at, at + 4).join('.') : body.toString('hex', at, at + 16));
  const at = (index: number): readonly [string, number] => [written(index * width), body.readUInt16BE(2 * width + 2 * index)];
  const values = readValues(body.subarray(addresses));
  const ssl = values.get(0x20);
  values.delete(0x20);
  return {
    length,
    header: {
      command, family, values: asTexts(values),
      ...(addresses === 0 ? {} : { source: at(0), destination: at(1) }),
      ...(ssl === undefined ? {} : { ssl: { client: ssl[0] as number, verify: ssl.readUInt32BE(1), values: asTexts(readValues(ssl.subarray(5))) } }),
    },
  };
}

function readValues(octets: Buffer): Map<number, Buffer> {
  const values = new Map<number, Buffer>();
  for (let at = 0; at < octets.length;) {
    if (at + 3 > octets.length) throw new Error('half a value');
    const [type, length] = [octets[at] as number, octets.readUInt16BE(at + 1)];
    if (at + 3 + length > octets.length) throw new Error('a value beyond the end');
    if (values.has(type)) throw new Error(`the value ${type} twice`);
    values.set(type, octets.subarray(at + 3, at + 3 + length));
    at += 3 + length;
  }
  return values;
}

function asTexts(values: ReadonlyMap<number, Buffer>): ReadonlyMap<number, string> {
  return new Map([...values].map(([type, octets]) => [type, new TextDecoder('utf-8', { fatal: true }).decode(octets)]));
}

export interface ProxiedBackend {
  readonly port: number;
  readonly headers: SeenHeader[];
  readonly faults: unknown[];
  close(): void;
}

/** An upstream that demands a PROXY header in front of each TLS handshake, and then the gateway's certificate. */
export async function startProxiedBackend(pki: TestPki, serve: (socket: TLSSocket) => void): Promise<ProxiedBackend> {
  const headers: SeenHeader[] = [];
  const faults: unknown[] = [];
  const open = new Set<Socket>();
  const secureContext = createSecureContext({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate });
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (raw) => {
    open.add(raw);
    raw.on('close', () => open.delete(raw));
    raw.on('error', () => undefined);
    let octets = Buffer.alloc(0);
    const look = (): void => {
      try {
        for (let chunk = raw.read() as Buffer | null; chunk !== null; chunk = raw.read() as Buffer | null) octets = Buffer.concat([octets, chunk]);
        const read = readHeaderStrictly(octets);
        if (read === undefined) return;
        raw.off('readable', look);
        headers.push(read.header);
        raw.unshift(octets.subarray(read.length));
        const socket = new TLSSocket(raw, { isServer: true, secureContext, requestCert: true, rejectUnauthorized: true });
        socket.on('error', () => undefined);
        socket.once('secure', () => serve(socket));
      } catch (error) {
        faults.push(error);
        raw.destroy();
      }
    };
    raw.on('readable', look);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as { port: number }).port, headers, faults,
    close() {
      for (const raw of open) raw.destroy();
      server.close();
    },
  };
}
