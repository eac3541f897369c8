import { createHash, createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SignJWT } from 'jose';

// What an authorization server would give to the holder of a certificate (docs/tokens.md): node token.ts CERTIFICATE KEY

const [certificate = '', key = ''] = process.argv.slice(2);
const thumbprint = createHash('sha256').update(new X509Certificate(readFileSync(certificate)).raw).digest('base64url');
const token = await new SignJWT({ client_id: 'growth-chart', scope: 'launch/patient patient/Observation.r', cnf: { 'x5t#S256': thumbprint } })
  .setProtectedHeader({ alg: 'ES256', kid: 'auth', typ: 'at+jwt' }).setIssuer('https://auth.hospital.test').setAudience('https://api.hospital.test/fhir')
  .setJti(randomUUID()).setIssuedAt().setExpirationTime('5m').sign(createPrivateKey(readFileSync(key)));
console.log(token);
