import { readFileSync, statSync } from 'node:fs';
import { privacyFault } from '../../config/files.ts';
import { runForLine } from '../../config/run-for-line.ts';

const COMMAND_MS = 60_000;
/** What nobody guesses in a lifetime needs more than a word. */
const LEAST = 12;

/** Where passphrases come from; without any they are asked for. Never from the command line itself, which everybody on the machine can read. */
export interface PassphraseOptions {
  readonly passphraseFile?: readonly string[];
  readonly passphraseCommand?: readonly string[];
}

/** The source of passphrases, in the order in which they were given: files, then commands, then whoever sits there. */
export interface Passphrases {
  /** A passphrase that is there already. */
  next(what: string): Promise<string>;
  /** One to lock with: typed twice, and not too short. */
  fresh(what: string): Promise<string>;
}

export function passphrasesOf({ passphraseFile = [], passphraseCommand = [] }: PassphraseOptions): Passphrases {
  const given: (() => string | Promise<string>)[] = [...passphraseFile.map((file) => () => fromFile(file)), ...passphraseCommand.map((command) => () => fromCommand(command))];
  return {
    next: async (what) => await given.shift()?.() ?? ask(`${what}: `),
    async fresh(what) {
      const source = given.shift();
      const passphrase = await source?.() ?? await ask(`${what}: `);
      if ([...passphrase].length < LEAST) throw new Error(`a passphrase of at least ${LEAST} characters is needed`);
      if (source === undefined && await ask(`${what}, again: `) !== passphrase) throw new Error('these are two different passphrases');
      return passphrase;
    },
  };
}

function fromFile(file: string): string {
  const { mode, gid } = statSync(file);
  const fault = privacyFault(mode & 0o7777, gid, process.getegid?.() ?? gid, file);
  if (fault !== undefined) throw new Error(fault);
  return firstLine(readFileSync(file, 'utf8'), file);
}

/** Of a shell, as an operator would type it. */
async function fromCommand(command: string): Promise<string> {
  const said = await runForLine(['/bin/sh', '-c', command], { directory: process.cwd(), deadline: COMMAND_MS });
  if (said.kind === 'fault') throw new Error(`--passphrase-command: ${said.message}`);
  return firstLine(Buffer.from(said.bytes).toString('utf8'), '--passphrase-command');
}

function firstLine(text: string, source: string): string {
  const line = text.replace(/\r?\n$/, '');
  if (line === '' || line.includes('\n')) throw new Error(`${source}: expected a passphrase on a single line`);
  return line;
}

/** Asks at the terminal, where nothing shows of what is typed. */
async function ask(question: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) throw new Error(`${question}nobody is there to type it; --passphrase-file or --passphrase-command says where it is, once for each that is needed`);
  // Before the question: whoever answers at once would see it on the screen.
  stdin.setRawMode(true);
  stderr.write(question);
  stdin.setEncoding('utf8');
  stdin.resume();
  try {
    return await new Promise<string>((done, failed) => {
      let typed: string[] = [];
      const heard = (text: string): void => {
        for (const character of text) {
          if (character === '\r' || character === '\n') return finish(() => done(typed.join('')));
          if (character === '\u0003' || character === '\u0004') return finish(() => failed(new Error('nothing was typed')));
          if (character === '\u007f' || character === '\b') typed = typed.slice(0, -1);
          else typed.push(character);
        }
      };
      const finish = (end: () => void): void => {
        stdin.off('data', heard);
        end();
      };
      stdin.on('data', heard);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}
