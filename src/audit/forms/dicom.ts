export function dicomForm(): string | undefined {
  return undefined;
}
