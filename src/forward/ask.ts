import { askPlainly } from './fast/call.ts';
import { askByHttp1 } from './http2/to-http1.ts';
import type { Call, Question } from './message.ts';
import { askByHttp2 } from './upstream/http2-call.ts';

/** Asks an upstream in the version of HTTP that it is configured to speak. */
export function ask(question: Question): Call {
  if (question.upstream.config.protocol === 'h2') return askByHttp2(question);
  return question.body === undefined ? askPlainly(question) : askByHttp1(question);
}
