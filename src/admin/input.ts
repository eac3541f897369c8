import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';

/** What was asked cannot be read. */
export class InputError extends Error {}

const MOST_INPUT = 64 * 1024;

/** Reads the JSON that a call brings; rejects with an InputError that names what is wrong. */
export async function input<Schema extends z.ZodType>(request: IncomingMessage, schema: Schema): Promise<z.output<Schema>> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += String(chunk);
    if (body.length > MOST_INPUT) throw new InputError(`the input is larger than ${MOST_INPUT} characters`);
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new InputError('the input is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new InputError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  return parsed.data;
}
