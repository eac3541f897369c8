import type { Database, Row } from './database/database.ts';

export interface Reading {
  readonly patient: string;
  /** mmHg */
  readonly systolic: number;
  readonly diastolic: number;
  /** beats a minute */
  readonly pulse: number | null;
  /** ISO 8601, UTC */
  readonly measured_at: string;
  /** Who sent it: the id the gateway gave. */
  readonly source: string;
}

export interface CheckIn {
  readonly patient: string;
  readonly device: string;
  /** ISO 8601, UTC */
  readonly at: string;
}

export interface Records {
  add(reading: Reading): Promise<void>;
  /** Latest measurement first. */
  newest(count: number): Promise<readonly Reading[]>;
  checkIn(visit: CheckIn): Promise<void>;
  /** Rejects when the database does not answer. */
  ping(): Promise<void>;
}

const keyColumn: Readonly<Record<Database['dialect'], string>> = {
  sqlite: 'id INTEGER PRIMARY KEY AUTOINCREMENT',
  mysql: 'id BIGINT AUTO_INCREMENT PRIMARY KEY',
  postgresql: 'id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY',
};

/** A MySQL database may have any character set of its own; the other two are UTF-8. */
const tableOptions: Readonly<Record<Database['dialect'], string>> = { sqlite: '', mysql: ' CHARACTER SET utf8mb4', postgresql: '' };

/** Creates the demo's two tables where they are missing. */
export async function openRecords(database: Database): Promise<Records> {
  const key = keyColumn[database.dialect];
  const options = tableOptions[database.dialect];
  await database.run(`CREATE TABLE IF NOT EXISTS blood_pressure (${key}, patient VARCHAR(64) NOT NULL, systolic INTEGER NOT NULL, diastolic INTEGER NOT NULL, pulse INTEGER, measured_at VARCHAR(24) NOT NULL, source VARCHAR(255) NOT NULL)${options}`);
  await database.run(`CREATE TABLE IF NOT EXISTS check_ins (${key}, patient VARCHAR(64) NOT NULL, device VARCHAR(255) NOT NULL, checked_in_at VARCHAR(24) NOT NULL)${options}`);
  return {
    async add({ patient, systolic, diastolic, pulse, measured_at, source }) {
      await database.run('INSERT INTO blood_pressure (patient, systolic, diastolic, pulse, measured_at, source) VALUES (?, ?, ?, ?, ?, ?)', [patient, systolic, diastolic, pulse, measured_at, source]);
    },
    async newest(count) {
      // The count is ours; MySQL takes no parameter in LIMIT of a prepared statement when it arrives as a double.
      const rows = await database.all(`SELECT patient, systolic, diastolic, pulse, measured_at, source FROM blood_pressure ORDER BY measured_at DESC, id DESC LIMIT ${Math.trunc(count)}`);
      return rows.map(readingOf);
    },
    async checkIn({ patient, device, at }) {
      await database.run('INSERT INTO check_ins (patient, device, checked_in_at) VALUES (?, ?, ?)', [patient, device, at]);
    },
    async ping() {
      await database.all('SELECT 1 AS one');
    },
  };
}

function readingOf(row: Row): Reading {
  return {
    patient: String(row['patient']), systolic: Number(row['systolic']), diastolic: Number(row['diastolic']), pulse: row['pulse'] === null ? null : Number(row['pulse']),
    measured_at: String(row['measured_at']), source: String(row['source']),
  };
}

/** Readings of yesterday, so that the first doctor to look sees something. Adds nothing when there are any. */
export async function seedRecords(records: Records, now: number): Promise<void> {
  if ((await records.newest(1)).length > 0) return;
  const rows = [[128, 82, 71, '1001'], [141, 90, 88, '1002'], [119, 76, 64, '1003'], [133, 85, 70, '1001'], [151, 97, 92, '1002'], [122, 79, 66, '1003']] as const;
  for (const [index, [systolic, diastolic, pulse, patient]] of rows.entries()) {
    const measured_at = new Date(now - 86_400_000 + index * 600_000).toISOString();
    await records.add({ patient, systolic, diastolic, pulse, measured_at, source: 'demo' });
  }
}
