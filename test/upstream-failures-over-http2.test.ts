import { describeFailures, HTTP1_KEPT, HTTP2 } from './support/upstream-failures.ts';

describeFailures(HTTP1_KEPT, { upstream: 'h2' });
describeFailures(HTTP2, { upstream: 'h2' });
