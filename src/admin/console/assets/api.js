/** Why the gateway did not do it. */
export class CallError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const DEADLINE_MS = 20_000;

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '')).toString();
  return answerOf(await fetch(query === '' ? path : `${path}?${query}`, { credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(DEADLINE_MS) }));
}

export async function post(path, body) {
  return answerOf(await fetch(path, { method: 'POST', credentials: 'same-origin', cache: 'no-store', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal: AbortSignal.timeout(60_000) }));
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new CallError(response.status, answer.detail ?? answer.title ?? `${response.status}`, answer.code);
}
