import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { CaOptions } from './place.ts';

/** Nobody has logged in: a service, or a container. */
const NONE = '4294967295';

/** The account that somebody has logged in with: Linux keeps it through sudo and su. Where nobody has logged in, the account that the process runs as. */
export function loginName(read: (file: string) => string = (file) => readFileSync(file, 'utf8')): string {
  try {
    const uid = read('/proc/self/loginuid').trim();
    if (/^\d+$/.test(uid) && uid !== NONE) return accountOf(uid, read('/etc/passwd')) ?? `uid ${uid}`;
  } catch {
    // No such thing on this system.
  }
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

function accountOf(uid: string, passwd: string): string | undefined {
  return passwd.split('\n').map((line) => line.split(':')).find((fields) => fields[2] === uid)?.[0];
}

/** Who asks, and beside the name that was given the one who typed it, and with which login. */
export function applicantOf({ applicant, applicantCert, who }: Pick<CaOptions, 'who'> & { readonly applicant?: string; readonly applicantCert?: string }): { readonly name: string; readonly certificate?: Buffer; readonly typedBy: string; readonly login: string } {
  return { name: applicant ?? who, ...(applicantCert === undefined ? {} : { certificate: readFileSync(applicantCert) }), typedBy: who, login: loginName() };
}
