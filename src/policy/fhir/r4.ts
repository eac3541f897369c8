// Written by scripts/write-fhir.ts from the definitions of FHIR R4 (4.0.1, CC0): CompartmentDefinition/patient, the search parameters
// that it names, and the list of resource types.

export interface Membership {
  /** The elements of which one must refer to the patient, as paths; arrays on the way are passed through. */
  readonly elements: readonly string[];
  /**
   * The search parameters that look at nothing but these elements. `id`: their values name patients only, so that a bare id will do;
   * `reference`: the value must say that it is a patient's.
   */
  readonly search: Readonly<Record<string, 'id' | 'reference'>>;
}

/** The resource types that a patient's compartment is made of. */
export const COMPARTMENT: ReadonlyMap<string, Membership> = new Map<string, Membership>([
  ['Account', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['AdverseEvent', { elements: ['subject'], search: { subject: 'reference' } }],
  ['AllergyIntolerance', { elements: ['patient', 'recorder', 'asserter'], search: { asserter: 'reference', patient: 'id', recorder: 'reference' } }],
  ['Appointment', { elements: ['participant.actor'], search: { actor: 'reference', patient: 'id' } }],
  ['AppointmentResponse', { elements: ['actor'], search: { actor: 'reference', patient: 'id' } }],
  ['AuditEvent', { elements: ['agent.who', 'entity.what'], search: { agent: 'reference', entity: 'reference', patient: 'id' } }],
  ['Basic', { elements: ['subject', 'author'], search: { author: 'reference', patient: 'id', subject: 'reference' } }],
  ['BodyStructure', { elements: ['patient'], search: { patient: 'id' } }],
  ['CarePlan', { elements: ['subject', 'activity.detail.performer'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['CareTeam', { elements: ['subject', 'participant.member'], search: { participant: 'reference', patient: 'id', subject: 'reference' } }],
  ['ChargeItem', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Claim', { elements: ['patient', 'payee.party'], search: { patient: 'id', payee: 'reference' } }],
  ['ClaimResponse', { elements: ['patient'], search: { patient: 'id' } }],
  ['ClinicalImpression', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Communication', { elements: ['subject', 'sender', 'recipient'], search: { patient: 'id', recipient: 'reference', sender: 'reference', subject: 'reference' } }],
  ['CommunicationRequest', { elements: ['subject', 'sender', 'recipient', 'requester'], search: { patient: 'id', recipient: 'reference', requester: 'reference', sender: 'reference', subject: 'reference' } }],
  ['Composition', { elements: ['subject', 'author', 'attester.party'], search: { attester: 'reference', author: 'reference', patient: 'id', subject: 'reference' } }],
  ['Condition', { elements: ['subject', 'asserter'], search: { asserter: 'reference', patient: 'id', subject: 'reference' } }],
  ['Consent', { elements: ['patient'], search: { patient: 'id' } }],
  ['Coverage', { elements: ['policyHolder', 'subscriber', 'beneficiary', 'payor'], search: { 'policy-holder': 'reference', beneficiary: 'id', patient: 'id', payor: 'reference', subscriber: 'reference' } }],
  ['CoverageEligibilityRequest', { elements: ['patient'], search: { patient: 'id' } }],
  ['CoverageEligibilityResponse', { elements: ['patient'], search: { patient: 'id' } }],
  ['DetectedIssue', { elements: ['patient'], search: { patient: 'id' } }],
  ['DeviceRequest', { elements: ['subject', 'performer'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['DeviceUseStatement', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['DiagnosticReport', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['DocumentManifest', { elements: ['subject', 'author', 'recipient'], search: { author: 'reference', patient: 'id', recipient: 'reference', subject: 'reference' } }],
  ['DocumentReference', { elements: ['subject', 'author'], search: { author: 'reference', patient: 'id', subject: 'reference' } }],
  ['Encounter', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['EnrollmentRequest', { elements: ['candidate'], search: { patient: 'id', subject: 'id' } }],
  ['EpisodeOfCare', { elements: ['patient'], search: { patient: 'id' } }],
  ['ExplanationOfBenefit', { elements: ['patient', 'payee.party'], search: { patient: 'id', payee: 'reference' } }],
  ['FamilyMemberHistory', { elements: ['patient'], search: { patient: 'id' } }],
  ['Flag', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Goal', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Group', { elements: ['member.entity'], search: { member: 'reference' } }],
  ['ImagingStudy', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Immunization', { elements: ['patient'], search: { patient: 'id' } }],
  ['ImmunizationEvaluation', { elements: ['patient'], search: { patient: 'id' } }],
  ['ImmunizationRecommendation', { elements: ['patient'], search: { patient: 'id' } }],
  ['Invoice', { elements: ['subject', 'recipient'], search: { patient: 'id', recipient: 'reference', subject: 'reference' } }],
  ['List', { elements: ['subject', 'source'], search: { patient: 'id', source: 'reference', subject: 'reference' } }],
  ['MeasureReport', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Media', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['MedicationAdministration', { elements: ['subject', 'performer.actor'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['MedicationDispense', { elements: ['subject', 'receiver'], search: { patient: 'id', receiver: 'reference', subject: 'reference' } }],
  ['MedicationRequest', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['MedicationStatement', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['MolecularSequence', { elements: ['patient'], search: { patient: 'id' } }],
  ['NutritionOrder', { elements: ['patient'], search: { patient: 'id' } }],
  ['Observation', { elements: ['subject', 'performer'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['Patient', { elements: ['link.other'], search: { link: 'reference' } }],
  ['Person', { elements: ['link.target'], search: { link: 'reference', patient: 'id' } }],
  ['Procedure', { elements: ['subject', 'performer.actor'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['Provenance', { elements: ['target'], search: { patient: 'id', target: 'reference' } }],
  ['QuestionnaireResponse', { elements: ['subject', 'author'], search: { author: 'reference', patient: 'id', subject: 'reference' } }],
  ['RelatedPerson', { elements: ['patient'], search: { patient: 'id' } }],
  ['RequestGroup', { elements: ['subject', 'action.participant'], search: { participant: 'reference', patient: 'id', subject: 'reference' } }],
  ['ResearchSubject', { elements: ['individual'], search: { individual: 'id', patient: 'id' } }],
  ['RiskAssessment', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['Schedule', { elements: ['actor'], search: { actor: 'reference' } }],
  ['ServiceRequest', { elements: ['subject', 'performer'], search: { patient: 'id', performer: 'reference', subject: 'reference' } }],
  ['Specimen', { elements: ['subject'], search: { patient: 'id', subject: 'reference' } }],
  ['SupplyDelivery', { elements: ['patient'], search: { patient: 'id' } }],
  ['SupplyRequest', { elements: ['deliverTo'], search: { subject: 'reference' } }],
  ['VisionPrescription', { elements: ['patient'], search: { patient: 'id' } }],
]);

/** Every resource type of R4. */
export const RESOURCE_TYPES: ReadonlySet<string> = new Set([
  'Account', 'ActivityDefinition', 'AdverseEvent', 'AllergyIntolerance', 'Appointment', 'AppointmentResponse', 'AuditEvent', 'Basic', 'Binary',
  'BiologicallyDerivedProduct', 'BodyStructure', 'Bundle', 'CapabilityStatement', 'CarePlan', 'CareTeam', 'CatalogEntry', 'ChargeItem',
  'ChargeItemDefinition', 'Claim', 'ClaimResponse', 'ClinicalImpression', 'CodeSystem', 'Communication', 'CommunicationRequest', 'CompartmentDefinition',
  'Composition', 'ConceptMap', 'Condition', 'Consent', 'Contract', 'Coverage', 'CoverageEligibilityRequest', 'CoverageEligibilityResponse',
  'DetectedIssue', 'Device', 'DeviceDefinition', 'DeviceMetric', 'DeviceRequest', 'DeviceUseStatement', 'DiagnosticReport', 'DocumentManifest',
  'DocumentReference', 'EffectEvidenceSynthesis', 'Encounter', 'Endpoint', 'EnrollmentRequest', 'EnrollmentResponse', 'EpisodeOfCare', 'EventDefinition',
  'Evidence', 'EvidenceVariable', 'ExampleScenario', 'ExplanationOfBenefit', 'FamilyMemberHistory', 'Flag', 'Goal', 'GraphDefinition', 'Group',
  'GuidanceResponse', 'HealthcareService', 'ImagingStudy', 'Immunization', 'ImmunizationEvaluation', 'ImmunizationRecommendation', 'ImplementationGuide',
  'InsurancePlan', 'Invoice', 'Library', 'Linkage', 'List', 'Location', 'Measure', 'MeasureReport', 'Media', 'Medication', 'MedicationAdministration',
  'MedicationDispense', 'MedicationKnowledge', 'MedicationRequest', 'MedicationStatement', 'MedicinalProduct', 'MedicinalProductAuthorization',
  'MedicinalProductContraindication', 'MedicinalProductIndication', 'MedicinalProductIngredient', 'MedicinalProductInteraction',
  'MedicinalProductManufactured', 'MedicinalProductPackaged', 'MedicinalProductPharmaceutical', 'MedicinalProductUndesirableEffect', 'MessageDefinition',
  'MessageHeader', 'MolecularSequence', 'NamingSystem', 'NutritionOrder', 'Observation', 'ObservationDefinition', 'OperationDefinition',
  'OperationOutcome', 'Organization', 'OrganizationAffiliation', 'Parameters', 'Patient', 'PaymentNotice', 'PaymentReconciliation', 'Person',
  'PlanDefinition', 'Practitioner', 'PractitionerRole', 'Procedure', 'Provenance', 'Questionnaire', 'QuestionnaireResponse', 'RelatedPerson',
  'RequestGroup', 'ResearchDefinition', 'ResearchElementDefinition', 'ResearchStudy', 'ResearchSubject', 'RiskAssessment', 'RiskEvidenceSynthesis',
  'Schedule', 'SearchParameter', 'ServiceRequest', 'Slot', 'Specimen', 'SpecimenDefinition', 'StructureDefinition', 'StructureMap', 'Subscription',
  'Substance', 'SubstanceNucleicAcid', 'SubstancePolymer', 'SubstanceProtein', 'SubstanceReferenceInformation', 'SubstanceSourceMaterial',
  'SubstanceSpecification', 'SupplyDelivery', 'SupplyRequest', 'Task', 'TerminologyCapabilities', 'TestReport', 'TestScript', 'ValueSet',
  'VerificationResult', 'VisionPrescription',
]);

/** The resource types that are in nobody's compartment, and do not name patients. */
export const UNRELATED_TYPES: ReadonlySet<string> = new Set([
  'CapabilityStatement', 'ChargeItemDefinition', 'CodeSystem', 'CompartmentDefinition', 'ConceptMap', 'Device', 'DeviceDefinition',
  'EffectEvidenceSynthesis', 'Endpoint', 'Evidence', 'ExampleScenario', 'GraphDefinition', 'HealthcareService', 'InsurancePlan', 'Location', 'Medication',
  'MedicationKnowledge', 'MedicinalProduct', 'MedicinalProductAuthorization', 'MedicinalProductContraindication', 'MedicinalProductIndication',
  'MedicinalProductIngredient', 'MedicinalProductInteraction', 'MedicinalProductManufactured', 'MedicinalProductPackaged',
  'MedicinalProductPharmaceutical', 'MedicinalProductUndesirableEffect', 'MessageDefinition', 'NamingSystem', 'ObservationDefinition',
  'OperationDefinition', 'Organization', 'OrganizationAffiliation', 'Practitioner', 'PractitionerRole', 'Questionnaire', 'RiskEvidenceSynthesis',
  'SearchParameter', 'Slot', 'SpecimenDefinition', 'StructureDefinition', 'Substance', 'SubstanceNucleicAcid', 'SubstancePolymer', 'SubstanceProtein',
  'SubstanceReferenceInformation', 'SubstanceSourceMaterial', 'SubstanceSpecification', 'TerminologyCapabilities', 'ValueSet',
]);
