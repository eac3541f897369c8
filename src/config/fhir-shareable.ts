// Written by scripts/write-fhir.ts from the definitions of FHIR R4 (4.0.1, CC0).

/** The resource types of R4 that are in nobody's compartment, and do not name patients: a route may share them. */
export const SHAREABLE_TYPES = [
  'CapabilityStatement', 'ChargeItemDefinition', 'CodeSystem', 'CompartmentDefinition', 'ConceptMap', 'Device', 'DeviceDefinition',
  'EffectEvidenceSynthesis', 'Endpoint', 'Evidence', 'ExampleScenario', 'GraphDefinition', 'HealthcareService', 'InsurancePlan', 'Location', 'Medication',
  'MedicationKnowledge', 'MedicinalProduct', 'MedicinalProductAuthorization', 'MedicinalProductContraindication', 'MedicinalProductIndication',
  'MedicinalProductIngredient', 'MedicinalProductInteraction', 'MedicinalProductManufactured', 'MedicinalProductPackaged',
  'MedicinalProductPharmaceutical', 'MedicinalProductUndesirableEffect', 'MessageDefinition', 'NamingSystem', 'ObservationDefinition',
  'OperationDefinition', 'Organization', 'OrganizationAffiliation', 'Practitioner', 'PractitionerRole', 'Questionnaire', 'RiskEvidenceSynthesis',
  'SearchParameter', 'Slot', 'SpecimenDefinition', 'StructureDefinition', 'Substance', 'SubstanceNucleicAcid', 'SubstancePolymer', 'SubstanceProtein',
  'SubstanceReferenceInformation', 'SubstanceSourceMaterial', 'SubstanceSpecification', 'TerminologyCapabilities', 'ValueSet',
] as const;
