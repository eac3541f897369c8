/** A resource of FHIR R4. */
export interface AuditEvent {
  readonly resourceType: 'AuditEvent';
  readonly id: string;
}

export function fhirForm(): AuditEvent | undefined {
  return undefined;
}
