/** A scope, and what it says where it is one of SMART on FHIR. */
export interface Scope {
  readonly text: string;
  readonly smart: SmartScope | undefined;
}

/** SMART App Launch, scopes for FHIR resources. */
interface SmartScope {
  readonly context: string;
  /** `*`: of every type. */
  readonly type: string;
  /** Some of `cruds`. */
  readonly actions: string;
  /** Whether only resources that a query finds are meant. */
  readonly narrowed: boolean;
}

const SMART = /^(patient|user|system)\/(\*|[A-Za-z]{1,64})\.(read|write|\*|c?r?u?d?s?)(\?.*)?$/;
/** Version 1 of the scopes in the words of version 2 (SMART App Launch 2, scopes for requesting FHIR resources). */
const VERSION_1: Readonly<Record<string, string>> = { 'read': 'rs', 'write': 'cud', '*': 'cruds' };

export function parseScope(text: string): Scope {
  const [, context, type, written, query] = SMART.exec(text) ?? [];
  if (context === undefined || type === undefined || written === undefined || written === '') return { text, smart: undefined };
  return { text, smart: { context, type, actions: VERSION_1[written] ?? written, narrowed: query !== undefined } };
}

/**
 * Whether who holds one scope may do what another stands for: the same text does, and of those of SMART on FHIR one for every type, or for
 * more actions. A scope with a query holds for what it finds: the gateway does not look for that, so it covers nothing but itself.
 */
export function covers(held: Scope, wanted: Scope): boolean {
  if (held.text === wanted.text) return true;
  const [one, other] = [held.smart, wanted.smart];
  if (one === undefined || other === undefined || one.narrowed) return false;
  return one.context === other.context && (one.type === '*' || one.type === other.type) && [...other.actions].every((action) => one.actions.includes(action));
}
