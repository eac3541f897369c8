import type { FileContent } from './files.ts';
import type { PassphraseSource } from './file-references.ts';
import { show } from './issue.ts';
import { runForLine } from './run-for-line.ts';
import { decodeUtf8 } from './text.ts';

/** A passphrase, why there is none, or that its command was not to be run. */
export type Passphrase =
  | { readonly kind: 'ok'; readonly text: string }
  | { readonly kind: 'fault'; readonly message: string }
  | { readonly kind: 'not-run' };

/** Finds the passphrase of a key or of a PKCS#12 file. */
export type Passphrases = (source: PassphraseSource) => Passphrase;

const COMMAND_DEADLINE_MS = 10_000;
/** What OpenSSL takes of a passphrase. */
const LONGEST = 1_023;

/**
 * Runs the commands that tell passphrases, each once whoever asks for it, where `run` says so, and reads the files that hold
 * them from what was read. Commands are run anew each time.
 */
export async function readPassphrases(
  sources: readonly PassphraseSource[],
  { contentOf, directory, run }: { contentOf: (name: string) => FileContent | undefined; directory: string; run: boolean },
): Promise<Passphrases> {
  const commands = new Map(sources.flatMap((source) => (source.kind === 'command' ? [[idOf(source), source.argv] as const] : [])));
  const told = new Map(await Promise.all([...commands].map(async ([id, argv]) => [id, await commandPassphrase(argv, directory, run)] as const)));
  return (source) => {
    if (source.kind === 'command') return told.get(idOf(source)) ?? { kind: 'not-run' };
    const content = contentOf(source.name);
    // What is wrong with the file itself is said where the file is looked at.
    return content?.kind === 'ok' ? passphraseIn(content.bytes, show(source.name)) : { kind: 'not-run' };
  };
}

/** What tells one source from another. */
function idOf(source: PassphraseSource | undefined): string {
  return source === undefined ? '' : source.kind === 'file' ? `file ${source.name}` : `command ${JSON.stringify(source.argv)}`;
}

async function commandPassphrase(argv: readonly string[], directory: string, run: boolean): Promise<Passphrase> {
  if (!run) return { kind: 'not-run' };
  const said = await runForLine(argv, { directory, deadline: COMMAND_DEADLINE_MS });
  if (said.kind === 'fault') return said;
  const end = said.bytes.indexOf(0x0a);
  return passphraseIn(end === -1 ? said.bytes : said.bytes.subarray(0, end), `what ${show(argv[0])} writes`);
}

/** The passphrase in a file of one line: UTF-8, with or without a byte order mark, with the line end of any system. `what` begins messages, `kind` is what they call it. */
export function passphraseIn(bytes: Uint8Array, what: string, kind = 'passphrase'): Passphrase {
  const decoded = decodeUtf8(bytes);
  if (decoded.kind === 'fault') return { kind: 'fault', message: `${what}: ${decoded.message.replace('the file', 'it')}` };
  const text = decoded.text.replace(/\r?\n$/, '').replace(/\r$/, '');
  if (/[\r\n\0]/.test(text)) return { kind: 'fault', message: `${what} is more than one line; expected the ${kind} on a single one` };
  if (text === '') return { kind: 'fault', message: `${what} holds no ${kind}` };
  if (Buffer.byteLength(text) > LONGEST) return { kind: 'fault', message: `${what} is longer than ${LONGEST} bytes; ${kind === 'passphrase' ? 'OpenSSL takes no such passphrase' : `no ${kind} is`}` };
  return { kind: 'ok', text };
}
