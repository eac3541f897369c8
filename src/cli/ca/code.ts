import { codeFor } from '../../ca/code.ts';
import { digestOf } from '../../ca/canonical.ts';
import type { AskedNames, Office } from '../../ca/office.ts';
import { newPassphrase } from '../../ca/passphrase.ts';
import { parseDuration } from '../../config/values.ts';
import { WrongUsage } from '../usage.ts';
import { applicantOf } from './login.ts';
import { openCa, withRecord, type CaOptions, type Print } from './place.ts';
import { validityOf, type RequestOptions } from './steps.ts';
import { detailsOf, factsOf } from './words.ts';

export type CodeOptions = CaOptions & Pick<RequestOptions, 'profile' | 'name' | 'id' | 'dns' | 'uri' | 'email' | 'ip' | 'purpose' | 'system' | 'validity' | 'applicant' | 'applicantCert'> & { readonly expires: string };

const DAY_MS = 86_400_000;
/** A code that nobody has used in a month is in a drawer. */
const LONGEST = 31 * DAY_MS;

/** `wardgate ca code`: the request of a device that will bring its own key, and the code with which it may. Approved like any other. */
export async function codeCommand(options: CodeOptions, print: Print): Promise<number> {
  const lifetime = parseDuration(options.expires);
  if (lifetime === undefined || lifetime <= 0 || lifetime > LONGEST) throw new WrongUsage(`--expires: ${JSON.stringify(options.expires)}; expected a duration such as 2d, at most ${LONGEST / DAY_MS}d`);
  // RFC 7617: the device says name and code with a colon between them.
  if (options.name.includes(':')) throw new WrongUsage(`--name: ${JSON.stringify(options.name)} holds a colon, which no name of an enrolment may`);
  const { dns, uri, email, ip } = options;
  const names: AskedNames = Object.fromEntries(Object.entries({ dns, uri, email, ip }).filter(([, values]) => values !== undefined));
  const secret = newPassphrase();
  const office = await openCa(options);
  const submit = (): ReturnType<Office['submit']> => {
    if (office.policy.profiles[options.profile]?.use === 'server') throw new WrongUsage('--profile: codes are for devices and people; servers are asked for with wardgate ca request --csr');
    return office.submit({
      profile: options.profile, name: options.name, ...(options.id === undefined ? {} : { id: options.id }), names, key: { kind: 'code', sha256: digestOf(secret), expires: Date.now() + lifetime },
      applicant: applicantOf(options),
      purpose: options.purpose, system: options.system, ...validityOf(options.validity),
    });
  };
  try {
    const dry = options.dryRun === true;
    const request = dry ? office.rehearse(submit) : await withRecord(options, office, submit);
    const code = dry ? undefined : codeFor(request.id, secret);
    if (options.json === true) print(JSON.stringify({ ...(dry ? { dry_run: true } : { code }), ...factsOf(request, undefined) }));
    else if (dry) print(`would be requested; nothing was changed\n${detailsOf(request, undefined)}`);
    else print(`${detailsOf(request, undefined)}\ncode          ${code}\n\nThe code is shown this once, and kept nowhere. It is worth nothing before somebody else has approved the request: wardgate ca approve ${request.id}`);
    return 0;
  } finally {
    office.close();
  }
}
