import { describeAttacks } from './play.ts';
import { FRAMING } from './requests.ts';

describeAttacks(FRAMING);
