import { printable } from '../../config/issue.ts';
import { openCustody, type CustodyItem } from '../../store/custody.ts';
import { auditPlaces } from '../archive.ts';

type Print = (text: string) => void;

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** `wardgate holder list`: what is out, at whom. With `overdue` exit 1 when something should be back. */
export async function listItems({ config, json, holder, overdue, all }: Common & { readonly holder?: string; readonly overdue?: boolean; readonly all?: boolean }, print: Print): Promise<number> {
  const custody = openCustody(auditPlaces(config).state);
  try {
    const now = Date.now();
    const wanted = custody.items().filter((item) => (overdue === true ? isOverdue(item, now) : all === true || !['destroyed', 'written_off'].includes(item.state)) && (holder === undefined || item.holder === holder));
    print(json === true ? JSON.stringify(wanted.map((item) => ({ ...item, overdue: isOverdue(item, now) }))) : wanted.map((item) => lineOf(item, now)).join('\n') || 'none');
    return overdue === true && wanted.length > 0 ? 1 : 0;
  } finally {
    custody.close();
  }
}

/** `wardgate holder show`: one of them, from the beginning. */
export async function showItem(id: string, { config, json }: Common, print: Print): Promise<number> {
  const custody = openCustody(auditPlaces(config).state);
  try {
    const item = custody.item(id);
    if (item === undefined) throw new Error(`nothing by the id ${JSON.stringify(id)} was ever handed out`);
    print(json === true ? JSON.stringify(item) : [
      lineOf(item), ...item.certificates.map((one) => `  certificate ${one}`),
      ...item.events.map(({ at, step, who, holder, witness, due, note }) => printable(`  ${at}  ${step.replace('_', ' ')}${holder === undefined ? '' : ` to ${holder}`}${due === undefined ? '' : `, back by ${due}`}, on record by ${who}${witness === undefined ? '' : `, witnessed by ${witness}`}${note === undefined ? '' : `: ${note}`}`)),
    ].join('\n'));
    return 0;
  } finally {
    custody.close();
  }
}

function isOverdue({ due }: CustodyItem, now: number): boolean {
  return due !== undefined && Date.parse(due) < now;
}

/** One line for people. */
export function lineOf(item: CustodyItem, now = Date.now()): string {
  const { id, kind, state, holder, since, due, description } = item;
  return printable(`${id}  ${kind}${description === undefined ? '' : ` (${description})`}, ${state.replaceAll('_', ' ')}${holder === undefined ? '' : state === 'handed_out' ? ` to ${holder}` : `, last held by ${holder}`} since ${since}${due === undefined ? '' : isOverdue(item, now) ? `, OVERDUE since ${due}` : `, back by ${due}`}`);
}
