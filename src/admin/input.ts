import type { IncomingMessage } from 'node:http';

/** What was asked cannot be read. */
export class InputError extends Error {}

const MOST_INPUT = 64 * 1024;

/** Reads the text that a call brings; rejects with an InputError when it is too much. */
export async function inputText(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += String(chunk);
    if (body.length > MOST_INPUT) throw new InputError(`the input is larger than ${MOST_INPUT} characters`);
  }
  return body;
}
