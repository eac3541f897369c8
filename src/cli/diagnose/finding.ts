/** One thing that was looked at. */
export interface Finding {
  /** What was looked at, for people: "listener clinical, api.hospital.test". */
  readonly about: string;
  /** `unknown`: it could not be looked at, and why is in the detail. */
  readonly outcome: 'good' | 'doubt' | 'bad' | 'unknown';
  readonly detail: string;
  /** What to do; always there unless all is good. */
  readonly remedy?: string;
}

export function good(about: string, detail: string): Finding {
  return { about, outcome: 'good', detail };
}

export function doubt(about: string, detail: string, remedy: string): Finding {
  return { about, outcome: 'doubt', detail, remedy };
}

export function bad(about: string, detail: string, remedy: string): Finding {
  return { about, outcome: 'bad', detail, remedy };
}

export function unknown(about: string, detail: string, remedy: string): Finding {
  return { about, outcome: 'unknown', detail, remedy };
}

const DAY_MS = 86_400_000;

/** A span of time as people say it: the two largest units. Milliseconds, never negative. */
export function spanText(span: number): string {
  const minutes = Math.floor(Math.abs(span) / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** What is to be said of something that ends at a time, both in ms since the epoch. */
export function ending(about: string, what: string, end: number, now: number, remedy: string): Finding {
  const left = end - now;
  if (left <= 0) return bad(about, `${what} ended ${spanText(left)} ago, on ${new Date(end).toISOString()}`, remedy);
  const detail = `${what} ends in ${spanText(left)}, on ${new Date(end).toISOString()}`;
  return left < 30 * DAY_MS ? doubt(about, detail, remedy) : good(about, detail);
}
