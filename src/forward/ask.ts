import { askByHttp1 } from './http2/to-http1.ts';
import type { Call, Question } from './message.ts';
import { askByHttp2 } from './upstream/http2-call.ts';

/** Asks an upstream in the version of HTTP that it is configured to speak. */
export function ask(question: Question): Call {
  return question.upstream.config.protocol === 'h2' ? askByHttp2(question) : askByHttp1(question);
}
