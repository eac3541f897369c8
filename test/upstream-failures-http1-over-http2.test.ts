import { describeFailures, HTTP1_KEPT } from './support/upstream-failures.ts';

describeFailures(HTTP1_KEPT, { upstream: 'h2' });
