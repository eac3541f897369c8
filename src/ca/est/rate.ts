const HOUR = 3_600_000;
/** Devices that have asked in the last hour; a CA for those who have none has fewer. */
const MOST_REMEMBERED = 100_000;

/** Counts requests by name; true for one that is beyond `perHour`. What is refused counts, too: whoever goes on asking goes on waiting. */
export function hourlyLimit(perHour: number, now: () => number): (name: string) => boolean {
  const asked = new Map<string, readonly number[]>();
  return (name) => {
    const at = now();
    const before = (asked.get(name) ?? []).filter((one) => one > at - HOUR);
    asked.delete(name);
    asked.set(name, [...before, at].slice(-perHour - 1));
    const [oldest] = asked.keys();
    if (asked.size > MOST_REMEMBERED && oldest !== undefined) asked.delete(oldest);
    return before.length >= perHour;
  };
}
