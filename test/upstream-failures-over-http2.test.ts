import { describeFailures, HTTP2 } from './support/upstream-failures.ts';

describeFailures(HTTP2, { upstream: 'h2' });
