import type { Forms } from '../forms/forms.ts';

/** What sinks need of the thread that they run on. */
export interface SinkGround {
  readonly forms: Forms;
  /** Name of the gateway, and the id of its process, as messages have them. */
  readonly host: string;
  readonly process: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of what somebody should look at. */
  readonly warn: (detail: string) => void;
}
