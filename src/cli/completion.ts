import type { Command, Option } from 'commander';
import type { CommandGround } from './ground.ts';
import { oneOf, WrongUsage } from './usage.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** A command as a shell has to know it: `path` are the words that name it, its own name first. */
interface Completed {
  readonly path: readonly string[];
  readonly below: readonly Named[];
  /** What its argument may be, where that is a closed list. */
  readonly words: readonly string[];
  readonly options: readonly OfferedOption[];
}

interface Named {
  readonly name: string;
  readonly about: string;
}

interface OfferedOption {
  readonly long: string;
  readonly short: string | undefined;
  readonly about: string;
  readonly takesValue: boolean;
}

/** Adds `completion` to the program; to be called last, for it offers what is there by then. */
export function addCompletionCommand(program: Command, { print, settle }: Pick<CommandGround, 'print' | 'settle'>): void {
  program.command('completion').description('print a script that has a shell complete wardgate commands')
    .addArgument(oneOf('<shell>', 'which', SHELLS))
    .addHelpText('after', `
Examples:
  wardgate completion bash >/etc/bash_completion.d/wardgate
  source <(wardgate completion zsh)
  wardgate completion fish >~/.config/fish/completions/wardgate.fish`)
    .action(settle(async (shell: string) => {
      print(completionScript(shell, program));
      return 0;
    }));
}

/** The script for a shell. Everything in it was written in this program: nothing of it needs to be quoted but apostrophes. */
function completionScript(shell: string, program: Command): string {
  const known = SHELLS.find((one) => one === shell);
  if (known === undefined) throw new WrongUsage(`there is no completion for ${JSON.stringify(shell)}; expected ${SHELLS.join(', ')}`);
  return WRITERS[known](treeOf(program, [program.name()]));
}

function treeOf(command: Command, path: readonly string[]): readonly Completed[] {
  const options = [...command.options.filter(({ hidden }) => !hidden).map(offered), { long: '--help', short: '-h', about: 'show what it does, by example', takesValue: false }];
  const below = command.commands.map((one) => ({ name: one.name(), about: one.description() }));
  const words = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
  return [{ path, below, words, options }, ...command.commands.flatMap((one) => treeOf(one, [...path, one.name()]))];
}

function offered({ long, short, description, required, optional }: Option): OfferedOption {
  return { long: long ?? short ?? '', short, about: description, takesValue: required || optional };
}

const WRITERS: Readonly<Record<Shell, (tree: readonly Completed[]) => string>> = {
  bash: bashScript,
  // Before compinit, as in a new account, there is nothing for bashcompinit to stand on.
  zsh: (tree) => `(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(tree)}`,
  fish: fishScript,
};

/** zsh reads it as well, where `path` and `words` have meanings of their own. */
function bashScript(tree: readonly Completed[]): string {
  const paths = tree.slice(1).map(({ path }) => `'${path.join(' ')}'`).join('|');
  const cases = tree.map(({ path, below, words, options }) => {
    const values = options.filter(({ takesValue }) => takesValue).flatMap(({ long, short }) => [long, ...(short === undefined ? [] : [short])]);
    return `    '${path.join(' ')}')
      below='${below.map(({ name }) => name).join(' ')}'
      choices='${words.join(' ')}'
      options='${options.map(({ long }) => long).join(' ')}'
      values=' ${values.join(' ')} ' ;;`;
  });
  return `_wardgate() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} place=wardgate below= choices= options= values= word
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
    case "$place $word" in ${paths}) place="$place $word" ;; esac
  done
  case "$place" in
${cases.join('\n')}
  esac
  [[ $values == *" $before "* ]] && return
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [[ -n $below$choices ]]; then COMPREPLY=($(compgen -W "$below $choices" -- "$current"))
  fi
}
complete -o default -o bashdefault -F _wardgate wardgate`;
}

function fishScript(tree: readonly Completed[]): string {
  const paths = tree.map(({ path }) => `'${path.join(' ')}'`).join(' ');
  const lines = tree.flatMap(({ path, below, words, options }) => {
    const at = `-n "__wardgate_at '${path.join(' ')}'"`;
    return [
      ...below.map(({ name, about }) => `complete -c wardgate ${at} -f -a ${name} -d '${quoted(about)}'`),
      ...words.map((word) => `complete -c wardgate ${at} -f -a ${word}`),
      ...options.map(({ long, short, about, takesValue }) => `complete -c wardgate ${at} -l ${long.slice(2)}${short === undefined ? '' : ` -s ${short.slice(1)}`}${takesValue ? ' -r' : ''} -d '${quoted(about)}'`),
    ];
  });
  return `function __wardgate_at
  set -l path wardgate
  for word in (commandline -opc)[2..]
    if contains -- "$path $word" ${paths}
      set path "$path $word"
    end
  end
  test "$path" = $argv[1]
end
${lines.join('\n')}`;
}

function quoted(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll("'", "\\'");
}
