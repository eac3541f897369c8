/** Why there is no connection. */
export interface ConnectFault {
  readonly result: 'failed' | 'timeout' | 'unverified' | 'abandoned';
  readonly code: 'upstream_unavailable' | 'upstream_timeout' | 'overloaded';
  readonly detail: string;
}

type Stage = 'opening' | 'unverified' | 'open';

/** Where connections to upstreams are; what is not in here was opened long ago. */
const stages = new WeakMap<object, Stage>();

const NO_TIME = 'ERR_UPSTREAM_CONNECT_TIMEOUT';
const TOO_MANY = 'ERR_UPSTREAM_CONNECTIONS';

/** Notes where a connection is. */
export function setStage(socket: object, stage: Stage): void {
  stages.set(socket, stage);
}

/** Whether a connection is open and verified, so that something may have been sent on it. */
export function isOpen(socket: object): boolean {
  const stage = stages.get(socket);
  return stage === undefined || stage === 'open';
}

/** What an error on a connection that is not open means for whoever wanted to use it. */
export function connectFault(socket: object | null | undefined, error: NodeJS.ErrnoException): ConnectFault {
  const detail = `${error.code ?? error.name}: ${error.message}`;
  if (error.code === TOO_MANY) return { result: 'abandoned', code: 'overloaded', detail: error.message };
  if (error.code === NO_TIME) return { result: 'timeout', code: 'upstream_timeout', detail: error.message };
  const unverified = socket !== null && socket !== undefined && stages.get(socket) === 'unverified';
  return { result: unverified ? 'unverified' : 'failed', code: 'upstream_unavailable', detail };
}

/** The error of a connection that took too long to open. */
export function noTime(): Error {
  return Object.assign(new Error('no connection in time'), { code: NO_TIME });
}

/** The error of a connection that would have been one too many. */
export function tooMany(): Error {
  return Object.assign(new Error('as many connections to this endpoint are open as may be'), { code: TOO_MANY });
}
