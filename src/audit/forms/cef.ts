export function cefForm(): string | undefined {
  return undefined;
}
