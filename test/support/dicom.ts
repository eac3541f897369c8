import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { freePort, untilListening } from './programs.ts';

/** Whether Debian's dcmtk is installed. */
export const hasDcmtk = spawnSync('storescp', ['--version'], { stdio: 'ignore' }).error === undefined;

/** A DICOM file of a secondary capture (Explicit VR Little Endian), and the data set in it. */
export function dicomFile(instance: string, pixels: Buffer): { readonly file: Buffer; readonly dataset: Buffer } {
  const capture = '1.2.840.10008.5.1.4.1.1.7';
  const version = element(0x0002, 0x0001, 'OB', Buffer.of(0, 1));
  const meta = Buffer.concat([
    version, uid(0x0002, 0x0002, capture), uid(0x0002, 0x0003, instance), uid(0x0002, 0x0010, '1.2.840.10008.1.2.1'), uid(0x0002, 0x0012, '1.2.3.4'),
  ]);
  const dataset = Buffer.concat([
    uid(0x0008, 0x0016, capture), uid(0x0008, 0x0018, instance), element(0x0010, 0x0010, 'PN', Buffer.from('Wang^Test ')), element(0x0010, 0x0020, 'LO', Buffer.from('1001')),
    uid(0x0020, 0x000d, '1.2.3.5'), uid(0x0020, 0x000e, '1.2.3.6'), element(0x7fe0, 0x0010, 'OW', pixels),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(meta.length);
  return { dataset, file: Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), element(0x0002, 0x0000, 'UL', length), meta, dataset]) };
}

function uid(group: number, number: number, text: string): Buffer {
  return element(group, number, 'UI', Buffer.from(text.length % 2 === 0 ? text : `${text}\0`));
}

/** A data element with explicit VR (PS3.5 section 7.1.2). */
function element(group: number, number: number, vr: string, value: Buffer): Buffer {
  const long = vr.startsWith('O');
  const head = Buffer.alloc(long ? 12 : 8);
  head.writeUInt16LE(group, 0);
  head.writeUInt16LE(number, 2);
  head.write(vr, 4, 'latin1');
  if (long) head.writeUInt32LE(value.length, 8);
  else head.writeUInt16LE(value.length, 6);
  return Buffer.concat([head, value]);
}

export interface DicomRun {
  readonly code: number | null;
  readonly output: string;
}

/** Runs one of dcmtk's programs to its end, or for a minute. */
export function dcmtk(program: string, args: readonly string[]): Promise<DicomRun> {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
    child.on('error', failed);
    child.on('close', (code) => {
      clearTimeout(timer);
      done({ code, output });
    });
  });
}

export interface StoreProvider {
  readonly port: number;
  readonly child: ChildProcess;
  output(): string;
  stop(): void;
}

/** Starts a `storescp` that demands a certificate, takes associations side by side and keeps data sets as they come. */
export async function startStoreProvider(key: string, certificate: string, trust: string, directory: string, more: readonly string[] = []): Promise<StoreProvider> {
  const port = await freePort();
  const child = spawn('storescp', ['-v', '--fork', '+tls', key, certificate, '+cf', trust, '-aet', 'PACS', '-pm', '+B', '-dhl', '-od', directory, ...more, String(port)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
  await untilListening(port, child);
  return { port, child, output: () => output, stop: () => void child.kill('SIGTERM') };
}
