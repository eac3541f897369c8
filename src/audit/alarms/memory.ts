/** What one rule remembers, by subject; bounded, what was used longest ago goes first. Values are plain JSON. */
export interface Memory {
  get(subject: string): object | undefined;
  set(subject: string, value: object): void;
}

/** A value that changed; without one, it went. */
export interface Change {
  readonly rule: string;
  readonly subject: string;
  readonly value?: object;
}

/** The memories of all rules, and how far each segment has been looked at. */
export interface AlarmState {
  memory(rule: string): Memory;
  /** The last record (its `seq`) of a segment that was looked at; -1: none. */
  seen(segment: string): number;
  saw(segment: string, seq: number): void;
  /** What changed since the last call, and forgets that. */
  changes(): readonly Change[];
}

/** Certificates and addresses that one rule remembers: a flood of strangers in one rule takes nothing from another. */
const MOST = 100_000;
/** Segments: one a thread and start, or a size. */
const MOST_SEGMENTS = 10_000;
const SEGMENTS = 'segment';

interface Held {
  readonly memory: Memory;
  /** Looks without using it. */
  readonly peek: (subject: string) => object | undefined;
  readonly changed: Set<string>;
}

/** A rule's memory in two halves: what is used moves to the new one; when that is full, what is left in the old one was not used for long, and goes. */
function createHeld(most: number, kept: Iterable<readonly [string, object]>): Held {
  const changed = new Set<string>();
  let recent = new Map<string, object>(kept);
  let old = new Map<string, object>();

  function put(subject: string, value: object): void {
    recent.set(subject, value);
    if (recent.size <= most / 2) return;
    for (const gone of old.keys()) if (!recent.has(gone)) changed.add(gone);
    old = recent;
    recent = new Map();
  }

  return {
    changed,
    peek: (subject) => recent.get(subject) ?? old.get(subject),
    memory: {
      get(subject) {
        const found = recent.get(subject);
        if (found !== undefined) return found;
        const older = old.get(subject);
        if (older === undefined) return undefined;
        old.delete(subject);
        put(subject, older);
        return older;
      },
      set(subject, value) {
        put(subject, value);
        changed.add(subject);
      },
    },
  };
}

/** Makes the state out of what was kept of it. */
export function createState(kept: Iterable<Change> = [], most = MOST): AlarmState {
  const all = new Map<string, Held>();
  const seen = new Map<string, number>();
  const changedSegments = new Set<string>();
  for (const [rule, changes] of Map.groupBy(kept, (change) => change.rule)) {
    const values = changes.flatMap(({ subject, value }) => (value === undefined ? [] : [[subject, value] as const]));
    if (rule === SEGMENTS) for (const [segment, value] of values) saw(segment, (value as { readonly seq: number }).seq);
    else all.set(rule, createHeld(most, values));
  }

  function of(rule: string): Held {
    let held = all.get(rule);
    if (held === undefined) {
      held = createHeld(most, []);
      all.set(rule, held);
    }
    return held;
  }

  function saw(segment: string, seq: number): void {
    seen.set(segment, seq);
    if (seen.size > MOST_SEGMENTS) seen.delete(seen.keys().next().value as string);
  }

  return {
    memory: (rule) => of(rule).memory,
    seen: (segment) => seen.get(segment) ?? -1,
    saw(segment, seq) {
      saw(segment, seq);
      changedSegments.add(segment);
    },
    changes() {
      const since: Change[] = [];
      for (const [rule, { peek, changed }] of all) {
        for (const subject of changed) since.push(changeOf(rule, subject, peek(subject)));
        changed.clear();
      }
      for (const segment of changedSegments) {
        const seq = seen.get(segment);
        since.push(changeOf(SEGMENTS, segment, seq === undefined ? undefined : { seq }));
      }
      changedSegments.clear();
      return since;
    },
  };
}

function changeOf(rule: string, subject: string, value: object | undefined): Change {
  return { rule, subject, ...(value === undefined ? {} : { value }) };
}
