export interface TryLine {
  /** What the command does. */
  readonly does: string;
  /** HTTP status it ends with. */
  readonly expect: number;
  /** For a POSIX shell, in the folder that the paths are relative to. Prints the answer, then its status on a line of its own. */
  readonly command: string;
}

/** The commands the demo prints. `certificates` is the PKI's directory as the commands should name it. */
export function tryLines(certificates: string, port: number): readonly TryLine[] {
  const url = (path: string) => `https://localhost:${port}${path}`;
  const curl = (path: string, client?: string, body?: object): string => [
    `curl -sS -w '\\n%{http_code}\\n' --cacert ${shellWord(`${certificates}/root.pem`)}`,
    ...(client === undefined ? [] : [`--cert ${shellWord(`${certificates}/${client}.pem`)} --key ${shellWord(`${certificates}/${client}.key`)}`]),
    ...(body === undefined ? [] : [`-H 'content-type: application/json' -d '${JSON.stringify(body)}'`]),
    url(path),
  ].join(' ');
  return [
    { does: 'anyone asks whether the service is up', expect: 200, command: curl('/public/health') },
    { does: 'a kiosk checks a patient in', expect: 201, command: curl('/checkin', 'device', { patient: '1001' }) },
    { does: 'a patient uploads a measurement of their own', expect: 201, command: curl('/upload', 'patient', { systolic: 124, diastolic: 81, pulse: 68 }) },
    { does: 'a kiosk uploads one for a patient', expect: 201, command: curl('/upload', 'device', { patient: '1002', systolic: 138, diastolic: 88 }) },
    { does: 'a doctor reads the newest five records', expect: 200, command: curl('/records', 'doctor') },
    { does: 'a patient may not read them', expect: 403, command: curl('/records', 'patient') },
    { does: 'a doctor whose certificate is revoked may not either', expect: 403, command: curl('/records', 'revoked') },
    { does: 'nor may somebody without a certificate', expect: 401, command: curl('/records') },
    { does: 'nor somebody with a good certificate that has no role', expect: 403, command: curl('/records', 'visitor') },
  ];
}

/** A word of a POSIX shell command, quoted when it has to be. */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
