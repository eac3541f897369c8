import { existsSync, writeFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import type { CaRequest } from '../../ca/office.ts';
import { pem } from '../../ca/der.ts';
import { compareHead } from './head.ts';
import { openCa, withRecord, type CaOptions, type Print } from './place.ts';
import { writeCrl } from './steps.ts';
import { detailsOf, entryOf, eventLine, factsOf, lineOf } from './words.ts';

export interface ListOptions extends CaOptions {
  readonly state?: string;
  readonly waiting?: boolean;
  readonly temporary?: boolean;
  readonly duplicates?: boolean;
}

/** `wardgate ca list`; with --duplicates exit 1 when a key was found twice. */
export async function listCommand(options: ListOptions, print: Print): Promise<number> {
  const office = await openCa(options);
  try {
    if (options.duplicates === true) {
      const found = office.duplicates();
      if (options.json === true) print(JSON.stringify(found.map(({ spkiSha256, entries }) => ({ key: spkiSha256, serials: entries.map(({ serial }) => serial) }))));
      else print(found.length === 0 ? 'no public key is in two certificates' : found.flatMap(({ spkiSha256, entries }) => [`key ${spkiSha256}:`, ...entries.map(({ serial, subject, state }) => `  ${serial}  ${state}  ${subject}`)]).join('\n'));
      return found.length === 0 ? 0 : 1;
    }
    const all = office.requests().map((request) => ({ request, entry: entryOf(office, request) }));
    const wanted = all.filter(({ request, entry }) => (options.state === undefined || (entry?.state ?? request.state) === options.state) && (options.waiting !== true || request.missing.length > 0)
      && (options.temporary !== true || request.temporary === true));
    if (options.json === true) print(JSON.stringify(wanted.map(({ request, entry }) => factsOf(request, entry))));
    else print(wanted.length === 0 ? 'none' : wanted.map(({ request, entry }) => lineOf(request, entry)).join('\n'));
    return 0;
  } finally {
    office.close();
  }
}

/** `wardgate ca show` */
export async function showCommand(id: string, options: CaOptions & { readonly pem?: boolean }, print: Print): Promise<number> {
  const office = await openCa(options);
  try {
    const request = office.request(id);
    const entry = entryOf(office, request);
    if (options.json === true) print(JSON.stringify(factsOf(request, entry)));
    else if (options.pem === true) print(office.entry(id).chain);
    else print(detailsOf(request, entry));
    return 0;
  } finally {
    office.close();
  }
}

/** `wardgate ca report`: a certificate with everything that is on record about it. */
export async function reportCommand(id: string, options: CaOptions & { readonly out?: string }, print: Print): Promise<number> {
  const office = await openCa(options);
  try {
    const request = office.request(id);
    const entry = entryOf(office, request);
    const events = office.events(request.id);
    const faults = office.faults();
    const whole = faults.length === 0 ? 'the event log of the CA is whole' : `the CA is NOT whole: ${faults.join('; ')}`;
    const root = new X509Certificate(office.root);
    const report = options.json === true
      ? `${JSON.stringify({ report: 'certificate', ca: { root: root.fingerprint256.replaceAll(':', '').toLowerCase(), head: office.events().at(-1)?.hash }, ...factsOf(request, entry), events, faults }, undefined, 2)}\n`
      : [
        `Report on ${request.subject}`, '', detailsOf(request, entry), ...relatives(office.requests(), request), '', 'What is on record', ...events.map(eventLine), '',
        `${whole}; its last event is ${office.events().at(-1)?.hash ?? 'none'}`, ...(entry === undefined ? [] : ['', entry.certificate.trimEnd()]), '',
      ].join('\n');
    if (options.out === undefined) print(report);
    else {
      if (existsSync(options.out)) throw new Error(`${options.out}: is there already; nothing is written over`);
      writeFileSync(options.out, report, { mode: 0o600 });
      print(`${options.out}: report on ${request.id}`);
    }
    return faults.length === 0 ? 0 : 1;
  } finally {
    office.close();
  }
}

function relatives(all: readonly CaRequest[], { serial }: CaRequest): readonly string[] {
  const next = all.find(({ renews }) => renews !== undefined && renews === serial);
  return next === undefined ? [] : [`successor     ${next.id}, ${next.state}`];
}

/** `wardgate ca verify`: exit 1 when something is not as it was written. */
export async function verifyCommand(options: CaOptions, print: Print): Promise<number> {
  const office = await openCa(options);
  try {
    const { head: recorded, fault } = compareHead(options, office);
    const faults = [...office.faults(), ...(fault === undefined ? [] : [fault])];
    const events = office.events();
    const head = events.at(-1);
    const sealed = events.findLast((event) => event.sealed)?.seq;
    if (options.json === true) print(JSON.stringify({ whole: faults.length === 0, faults, events: events.length, head: head?.hash, sealed, ...(recorded === undefined ? {} : { audit: recorded }) }));
    else if (faults.length > 0) print(faults.join('\n'));
    else print(`whole: ${events.length} events, ${office.entries().length} certificates; sealed by the issuing key up to event ${sealed ?? 'none'}\nlast event ${head?.seq} ${head?.hash}${recorded === undefined ? '' : `\nthe gateway has event ${recorded.seq} on record, which is the same`}`);
    return faults.length === 0 ? 0 : 1;
  } finally {
    office.close();
  }
}

/** `wardgate ca policy`: whether policy.yaml is as it was accepted; exit 1 when it is not. With --accept it is from then on. */
export async function policyCommand(options: CaOptions & { readonly accept?: boolean; readonly why?: string }, print: Print): Promise<number> {
  const office = await openCa(options, { key: true });
  try {
    const before = office.isPolicyAccepted();
    const accepting = options.accept === true && !before;
    if (accepting && options.dryRun !== true) await withRecord(options, office, () => office.acceptPolicy({ who: options.who, ...(options.why === undefined ? {} : { why: options.why }) }));
    const accepted = office.isPolicyAccepted();
    const changed = accepting && options.dryRun === true ? 'would be accepted; nothing was changed' : 'was changed since it was accepted: nothing is issued; read it, then wardgate ca policy --accept';
    if (options.json === true) print(JSON.stringify({ ...(options.dryRun === true ? { dry_run: true } : {}), accepted }));
    else print(`policy.yaml   ${accepted ? accepting ? 'accepted' : 'is as it was accepted' : changed}`);
    return accepted || (accepting && options.dryRun === true) ? 0 : 1;
  } finally {
    office.close();
  }
}

/** `wardgate ca crl`: makes and writes the next one. */
export async function crlCommand(options: CaOptions & { readonly generation?: string; readonly out?: string; readonly pem?: boolean }, print: Print): Promise<number> {
  const office = await openCa(options, { key: true });
  try {
    const generation = options.generation === undefined ? undefined : Number(options.generation);
    const file = await withRecord(options, office, () => writeCrl(office, generation, options.out));
    const crl = office.lastCrl(generation);
    if (crl !== undefined && options.pem === true) writeFileSync(file, pem('X509 CRL', crl.der));
    const facts = { file, number: crl?.number, next_update: new Date(crl?.nextUpdate ?? 0).toISOString() };
    print(options.json === true ? JSON.stringify(facts) : `${file}: CRL ${facts.number}, next update ${facts.next_update}`);
    return 0;
  } finally {
    office.close();
  }
}
