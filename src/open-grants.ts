import type { GrantReport } from './store/grants.ts';

/** Grants that may be used, arranged by what requests are found by. */
export interface OpenGrants {
  add(report: GrantReport): void;
  /** Forgets this one; another that has come in its place stays. */
  remove(report: GrantReport): void;
  /** The newest for this certificate, route and patient, or for nobody. */
  get(sought: Sought): GrantReport | undefined;
  /** Those of a certificate and a route that were opened on the gateway's page. */
  declared(sought: Omit<Sought, 'patient'>): readonly GrantReport[];
}

export interface Sought {
  /** SHA-256, hex. */
  readonly certificate: string;
  readonly route: string;
  readonly patient?: string | undefined;
}

export function createOpenGrants(): OpenGrants {
  const exact = new Map<string, GrantReport>();
  const declared = new Map<string, Map<string, GrantReport>>();
  const placeOf = ({ certificate, route }: Omit<Sought, 'patient'>): string => JSON.stringify([certificate, route]);
  const keyOf = ({ certificate, route, patient }: Sought): string => JSON.stringify([certificate, route, patient ?? null]);

  return {
    add(report) {
      exact.set(keyOf(report), report);
      if (report.page !== true) return;
      const place = placeOf(report);
      const there = declared.get(place) ?? new Map<string, GrantReport>();
      declared.set(place, there.set(report.id, report));
    },
    remove(report) {
      if (exact.get(keyOf(report))?.id === report.id) exact.delete(keyOf(report));
      const there = declared.get(placeOf(report));
      there?.delete(report.id);
      if (there?.size === 0) declared.delete(placeOf(report));
    },
    get: (sought) => exact.get(keyOf(sought)),
    declared: (sought) => [...declared.get(placeOf(sought))?.values() ?? []],
  };
}
