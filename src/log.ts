/** Where the gateway says what it does; pino's shape, so that a pino logger is one. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log that keeps silent. */
export const SILENT: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };
