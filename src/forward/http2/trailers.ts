/** Trailers in the form that Node sends: a map without a prototype, for the other side chooses the names; those said twice stay two. */
export function trailerRecord(fields: readonly string[]): Record<string, string | string[]> {
  const trailers = Object.create(null) as Record<string, string | string[]>;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    const before = trailers[name];
    trailers[name] = before === undefined ? value : [before, value].flat();
  }
  return trailers;
}
