import { expect, it } from 'vitest';
import { SHAREABLE_TYPES } from '../src/config/fhir-shareable.ts';
import { COMPARTMENT, RESOURCE_TYPES, UNRELATED_TYPES } from '../src/policy/fhir/r4.ts';

/** FHIR R4 (4.0.1), CompartmentDefinition/patient: the types, and the search parameters that look for the patient. */
const PUBLISHED: Readonly<Record<string, readonly string[]>> = {
  Account: ['subject'], AdverseEvent: ['subject'], AllergyIntolerance: ['patient', 'recorder', 'asserter'], Appointment: ['actor'],
  AppointmentResponse: ['actor'], AuditEvent: ['patient'], Basic: ['patient', 'author'], BodyStructure: ['patient'],
  CarePlan: ['patient', 'performer'], CareTeam: ['patient', 'participant'], ChargeItem: ['subject'], Claim: ['patient', 'payee'],
  ClaimResponse: ['patient'], ClinicalImpression: ['subject'], Communication: ['subject', 'sender', 'recipient'],
  CommunicationRequest: ['subject', 'sender', 'recipient', 'requester'], Composition: ['subject', 'author', 'attester'],
  Condition: ['patient', 'asserter'], Consent: ['patient'], Coverage: ['policy-holder', 'subscriber', 'beneficiary', 'payor'],
  CoverageEligibilityRequest: ['patient'], CoverageEligibilityResponse: ['patient'], DetectedIssue: ['patient'],
  DeviceRequest: ['subject', 'performer'], DeviceUseStatement: ['subject'], DiagnosticReport: ['subject'],
  DocumentManifest: ['subject', 'author', 'recipient'], DocumentReference: ['subject', 'author'], Encounter: ['patient'],
  EnrollmentRequest: ['subject'], EpisodeOfCare: ['patient'], ExplanationOfBenefit: ['patient', 'payee'], FamilyMemberHistory: ['patient'],
  Flag: ['patient'], Goal: ['patient'], Group: ['member'], ImagingStudy: ['patient'], Immunization: ['patient'], ImmunizationEvaluation: ['patient'],
  ImmunizationRecommendation: ['patient'], Invoice: ['subject', 'patient', 'recipient'], List: ['subject', 'source'], MeasureReport: ['patient'],
  Media: ['subject'], MedicationAdministration: ['patient', 'performer', 'subject'], MedicationDispense: ['subject', 'patient', 'receiver'],
  MedicationRequest: ['subject'], MedicationStatement: ['subject'], MolecularSequence: ['patient'], NutritionOrder: ['patient'],
  Observation: ['subject', 'performer'], Patient: ['link'], Person: ['patient'], Procedure: ['patient', 'performer'], Provenance: ['patient'],
  QuestionnaireResponse: ['subject', 'author'], RelatedPerson: ['patient'], RequestGroup: ['subject', 'participant'], ResearchSubject: ['individual'],
  RiskAssessment: ['subject'], Schedule: ['actor'], ServiceRequest: ['subject', 'performer'], Specimen: ['subject'], SupplyDelivery: ['patient'],
  SupplyRequest: ['subject'], VisionPrescription: ['patient'],
};

it('the table has the types and the search parameters of the published definition', () => {
  expect([...COMPARTMENT.keys()].sort()).toEqual(Object.keys(PUBLISHED).sort());
  for (const [type, parameters] of Object.entries(PUBLISHED)) {
    const { search, elements } = COMPARTMENT.get(type) ?? { search: {}, elements: [] };
    expect(Object.keys(search), type).toEqual(expect.arrayContaining([...parameters]));
    expect(elements.length, type).toBeGreaterThan(0);
  }
});

it('no type is in compartments and shared', () => {
  expect([...SHAREABLE_TYPES].sort()).toEqual([...UNRELATED_TYPES].sort());
  expect(SHAREABLE_TYPES.filter((type) => COMPARTMENT.has(type) || !RESOURCE_TYPES.has(type))).toEqual([]);
  for (const type of ['Binary', 'Bundle', 'Parameters', 'Task', 'Group', 'GuidanceResponse', 'Linkage', 'VerificationResult']) expect(UNRELATED_TYPES.has(type), type).toBe(false);
});
