import type { FedRecord } from '../feed.ts';
import type { Form } from './setup.ts';

/** How a record is written in a form; undefined: the form has nothing for it. */
export function formOf(form: Form): (fed: FedRecord) => string | undefined {
  if (form !== 'json') throw new Error(`the form ${form} is not there yet`);
  return ({ record, segment, seq, hash }) => JSON.stringify({ ...record, path: undefined, segment, seq, hash });
}
