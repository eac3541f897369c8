/** Why a backup cannot be made, opened or restored. */
export type BackupFault = 'not_a_backup' | 'damaged' | 'wrong_secret' | 'too_few_keys' | 'too_costly' | 'unreadable' | 'changing' | 'unsafe_path' | 'occupied' | 'running';

/** Nothing was changed when this is thrown. */
export class BackupError extends Error {
  readonly code: BackupFault;

  constructor(code: BackupFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}
