/** Everything that a sink is made of; structured-cloneable. */
export type SinkSetup = FileSetup | SyslogSetup | FhirSetup;

/** What a message is. */
export type Form = 'json' | 'cef' | 'dicom';

interface Named {
  readonly name: string;
  /** Whether it begins with everything that there is. */
  readonly history: boolean;
}

export interface FileSetup extends Named {
  readonly kind: 'file';
  /** Absolute. */
  readonly file: string;
  readonly form: Form;
}

/** A receiver by TLS, and how it is verified; PEM. */
export interface ReceiverSetup {
  readonly host: string;
  readonly port: number;
  /** What its certificate must carry. */
  readonly serverName: string;
  readonly trust: string;
  readonly certificate?: string;
  readonly key?: string;
  /** Milliseconds for connecting, a write and an orderly close each. */
  readonly timeout: number;
}

export interface SyslogSetup extends Named {
  readonly kind: 'syslog';
  readonly receiver: ReceiverSetup;
  readonly acknowledged: 'close' | 'written';
  readonly form: Form;
  /** Milliseconds. */
  readonly every: number;
}

export interface FhirSetup extends Named {
  readonly kind: 'fhir';
  /** Without a slash at its end. */
  readonly url: string;
  readonly serverName?: string;
  readonly trust: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly bundle: number;
  readonly tries: number;
  /** How the repository can recognise what it is sent again. */
  readonly repeats: 'tag' | 'put';
  /** Milliseconds. */
  readonly timeout: number;
  /** Absolute: where records go that the repository will not have. */
  readonly deadLetters: string;
}
