/** How much of one caller is answered at a time. A console that is opened asks for half a dozen things at once. */
const AT_A_TIME = 2;
const MOST_WAITING = 32;

interface Caller {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * Has each caller wait for its own: the main thread answers all of them, and who only looks must not keep it from what an emergency asks of it. Undefined
 * where too much of the caller waits already; rejects as `act` does.
 */
export function createTurns(): <Answer>(caller: string, act: () => Promise<Answer>) => Promise<Answer> | undefined {
  const callers = new Map<string, Caller>();

  async function inTurn<Answer>(name: string, one: Caller, act: () => Promise<Answer>): Promise<Answer> {
    if (one.running < AT_A_TIME) one.running++;
    else await new Promise<void>((begin) => void one.waiting.push(begin));
    try {
      return await act();
    } finally {
      const next = one.waiting.shift();
      // The place goes on to the next.
      if (next !== undefined) next();
      else if (--one.running === 0) callers.delete(name);
    }
  }

  return (name, act) => {
    const one = callers.get(name) ?? { running: 0, waiting: [] };
    if (one.waiting.length >= MOST_WAITING) return undefined;
    callers.set(name, one);
    return inTurn(name, one, act);
  };
}
