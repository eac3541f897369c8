import type { CertificateMatch } from '../config/schema.ts';
import type { GeneralName } from '../pki/certificate.ts';
import { OTHER_NAME } from '../pki/general-name.ts';
import { leafOf, type Shown } from './condition.ts';
import { attributeValues, compileName, nameMiss } from './names.ts';
import { compilePattern, fitsPattern, type Comparison } from './patterns.ts';
import { directoryNames, otherTexts, SAN_TEXTS, sanTexts, vouchedSpiffeId, type SanMatch } from './san.ts';
import type { TrustDomains } from './authorities.ts';

/** The id of a certificate; undefined when there is nothing to make it of, or more than one thing. */
export type IdTemplate = (shown: Shown) => string | undefined;

/** What one placeholder can stand for: none or several values make no id. */
type Values = (shown: Shown) => readonly string[];

const PLACEHOLDER = /\{([^{}]*)\}/g;

// The id goes into a header field of the upstream request: control characters would end it there, and half a surrogate pair would read as another's.
// eslint-disable-next-line no-control-regex
const PRINTABLE = /^(?!\s*$)[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Cs}]+$/u;

/**
 * Makes a template such as `{subject.CN}` ready. A value that is absent, empty, or one of several that the rule's own match does not
 * single out, gives no id: an id that could mean two people is none.
 */
export function compileIdTemplate(template: string, match: CertificateMatch, domains: TrustDomains): IdTemplate {
  const placeholders = new Map([...template.matchAll(PLACEHOLDER)].map(([, key = '']) => [key, valuesFor(key, match, domains)]));
  return (shown) => {
    const filled = new Map([...placeholders].map(([key, values]) => [key, single(values(shown))]));
    if ([...filled.values()].some((value) => value === undefined || !PRINTABLE.test(value))) return undefined;
    return template.replace(PLACEHOLDER, (_, key: string) => filled.get(key) ?? '');
  };
}

/** The same value twice is one value. */
function single(values: readonly string[]): string | undefined {
  return new Set(values).size === 1 ? values[0] : undefined;
}

function valuesFor(key: string, match: CertificateMatch, domains: TrustDomains): Values {
  if (key === 'serial') return (shown) => [leafOf(shown).serial];
  if (key === 'fingerprint') return (shown) => [leafOf(shown).sha256];
  const dot = key.indexOf('.');
  const [group, type] = [key.slice(0, dot), key.slice(dot + 1)];
  if (group === 'issuer') return (shown) => attributeValues(leafOf(shown).issuer, type);
  if (group === 'subject') return fitting((shown) => attributeValues(leafOf(shown).subject, type), match.subject?.[type], 'name');
  return sanValues(type, match.san ?? {}, domains);
}

function sanValues(type: string, san: SanMatch, domains: TrustDomains): Values {
  const [kind = '', rest = ''] = [type.split('.', 1)[0], type.slice(type.indexOf('.') + 1)];
  switch (kind) {
    case 'spiffe':
      return (shown) => {
        const vouched = vouchedSpiffeId(shown, domains);
        return vouched.kind === 'id' ? [vouched.id] : [];
      };
    case 'other': return fitting((shown) => otherTexts(leafOf(shown), rest), san.other?.[rest], 'name');
    case 'directory': return directoryValues(rest, san);
    case 'hardware_module': return identifierValues(rest === 'type' ? 'within' : 'text', OTHER_NAME.hardwareModuleName, san.hardware_module?.type, san.hardware_module?.serial, 'caseless');
    case 'permanent_identifier':
      return identifierValues(rest === 'assigner' ? 'within' : 'text', OTHER_NAME.permanentIdentifier, san.permanent_identifier?.assigner, san.permanent_identifier?.value, 'exact');
    default: {
      const text = kind as keyof typeof SAN_TEXTS;
      return fitting((shown) => sanTexts(leafOf(shown), text), san[text], SAN_TEXTS[text]);
    }
  }
}

/** Those values that the rule's own patterns let through; all of them where it has none. */
function fitting(values: Values, wanted: readonly string[] | undefined, comparison: Comparison): Values {
  if (wanted === undefined) return values;
  const patterns = wanted.map((pattern) => compilePattern(pattern, comparison));
  return (shown) => values(shown).filter((value) => patterns.some((pattern) => fitsPattern(pattern, value)));
}

/** An attribute of the one directoryName that the rule's own condition is met by. */
function directoryValues(type: string, san: SanMatch): Values {
  const wanted = compileName(san.directory ?? {});
  return (shown) => directoryNames(leafOf(shown)).filter((name) => nameMiss(name, wanted) === undefined).flatMap((name) => attributeValues(name, type));
}

type OtherName = Extract<GeneralName, { readonly kind: 'other' }>;

/** A part of the one name that the rule's own condition is met by: two names with the same serial are still two. */
function identifierValues(part: 'text' | 'within', oid: string, within: string | undefined, wanted: readonly string[] | undefined, comparison: Comparison): Values {
  const patterns = wanted?.map((pattern) => compilePattern(pattern, comparison));
  const fits = (name: OtherName): boolean => (within === undefined || name.within === within)
    && (patterns === undefined || (name.text !== undefined && patterns.some((pattern) => fitsPattern(pattern, name.text as string))));
  return (shown) => {
    const names = new Map(leafOf(shown).subjectAltNames.flatMap((name) => (name.kind === 'other' && name.oid === oid && fits(name) ? [[`${name.within} ${name.text}`, name] as const] : [])));
    const [only] = names.values();
    const value = names.size === 1 ? only?.[part] : undefined;
    return value === undefined ? [] : [value];
  };
}
