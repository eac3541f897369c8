import { describeFailures, HTTP1 } from './support/upstream-failures.ts';

describeFailures(HTTP1);
