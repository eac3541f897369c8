import { printable } from '../../config/issue.ts';

/** What the running gateway warned of beside its answer; nothing where none runs. */
export function warningsIn(answer: unknown): readonly string[] {
  return (answer as { readonly warnings?: readonly string[] } | undefined)?.warnings ?? [];
}

export function warningLines(warnings: readonly string[]): readonly string[] {
  return warnings.map((warning) => printable(`WARNING        ${warning}`));
}
