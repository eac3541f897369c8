import { describeAttacks } from './play.ts';
import { SYNTAX } from './requests.ts';

describeAttacks(SYNTAX);
