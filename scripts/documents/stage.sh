#!/bin/bash
# Makes a machine with what the documents speak of: a hospital's CA, the certificates of its people, a gateway in /etc/wardgate.
set -euo pipefail
here=$DOCUMENTS_PROJECT/scripts/documents
cat >>/etc/hosts <<'END'
10.1.0.4 api.hospital.test devices.hospital.test hooks.hospital.test gateway.hospital.test emergency.hospital.test gateway
10.0.9.1 ops.hospital.test
10.1.0.5 ca.hospital.test pki.hospital.test
10.200.0.1 records.internal sms.hospital.test mail.hospital.test desk.hospital.test siem.hospital.test auth.hospital.test
END
id wardgate >/dev/null 2>&1 || useradd --system --no-create-home wardgate
mkdir -p /etc/wardgate /var/lib/wardgate /var/log/wardgate /var/backups/wardgate /mnt/safe /media/usb
chmod 700 /var/lib/wardgate /var/backups/wardgate
cd /etc/wardgate
umask 022
(
  umask 077
  echo 'the hospital issuing CA' >ca.pass
  echo 'the hospital root, offline' >root.pass
)

node --input-type=module -e "
  const { initialPolicy } = await import('$DOCUMENTS_PROJECT/src/ca/policy.ts');
  const url = 'http://ca.hospital.test';
  console.log(initialPolicy({ organization: 'Hospital', domain: 'hospital.test' }).replace('publish: {}', 'publish: { ocsp: \"' + url + '/ocsp\" }'));
" >policy.yaml
wardgate ca init --policy policy.yaml --dir /var/lib/wardgate-ca --root-out /media/usb/root --name Hospital --json \
  --server api.hospital.test,devices.hospital.test,hooks.hospital.test,gateway.hospital.test,emergency.hospital.test,gateway.hospital.test,10.1.0.4 \
  --server ops.hospital.test --server ca.hospital.test \
  --client 'doctor:Dr Wang' --client 'doctor:Dr Chen' --client device:kiosk-7.hospital.test --client 'patient:P 1001:1001' \
  --approver 'registrar:Li Na' --approver 'security:Chen Jing' --witness 'Wu Fang' \
  --passphrase-file ca.pass --root-passphrase-file root.pass >made.json
take() { # PROFILE NAME FILE
  local found
  found=$(jq -r --arg profile "$1" --arg name "$2" '.certificates[] | select(.profile == $profile and .name == $name) | "\(.certificate) \(.key) \(.pkcs12) \(.passphrase)"' made.json)
  read -r pem key p12 passphrase <<<"$found"
  install -m 644 "$pem" "$3.pem"
  install -m 600 "$key" "$3.key"
  install -m 600 "$p12" "$3.p12"
  (umask 077; echo "$passphrase" >"$3.pass")
}
take server api.hospital.test server
take server ops.hospital.test ops
take server ca.hospital.test est
take doctor 'Dr Wang' doctor
take doctor 'Dr Chen' dr-chen
take device kiosk-7.hospital.test kiosk
take patient 'P 1001' patient
take registrar 'Li Na' li-na
take security 'Chen Jing' security
cp security.pem chen.pem; cp -p security.key chen.key
cp kiosk.pem kiosk-7.pem; cp -p kiosk.key kiosk-7.key
cp /var/lib/wardgate-ca/root.pem root.pem
cp root.pem hospital-root.pem
cp root.pem clients-ca.pem
cp /var/lib/wardgate-ca/issuing.pem .
ln -s /var/lib/wardgate-ca /var/lib/wardgate/ca
ln -s /var/lib/wardgate state
mkdir doctors anchors
cp doctor.pem dr-chen.pem doctors
cp root.pem anchors/hospital.pem

# The second leg has an authority of its own.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj '/CN=Backend CA' -addext keyUsage=critical,keyCertSign,cRLSign -keyout backend-ca.key -out backend-ca.pem 2>/dev/null
leaf() { # FILE NAME USE SAN
  openssl req -x509 -CA backend-ca.pem -CAkey backend-ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 300 -subj "/CN=$2" \
    -addext "extendedKeyUsage=$3" -addext "subjectAltName=$4" -addext basicConstraints=critical,CA:FALSE -keyout "$1.key" -out "$1.pem" 2>/dev/null
}
leaf gateway gateway.internal clientAuth DNS:gateway.internal
leaf backend records.internal serverAuth 'DNS:records.internal,DNS:*.hospital.test'
for name in factors.key tickets.secret; do (umask 077; head -c 64 /dev/urandom >$name); done
for name in hr.secret sms.secret desk.secret; do (umask 077; openssl rand -hex 32 >$name); done
node --input-type=module -e "
  import { generateKeyPairSync } from 'node:crypto';
  import { writeFileSync } from 'node:fs';
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync('auth.key', privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  writeFileSync('jwks.json', JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'auth', use: 'sig', alg: 'ES256' }] }));
"
cp "$here/wardgate.yaml" "$here/devices.csv" .
echo 'cacert = /etc/wardgate/hospital-root.pem' >>/root/.curlrc
rm made.json
wardgate check
# What is compiled here is compiled for every machine, and the threads of a gateway read more than all the commands.
mkdir -m 700 /run/first
sed -E 's#/var/l(ib|og)/wardgate(/|$)#/run/first\2#' wardgate.yaml >first.yaml
wardgate run -c first.yaml >/run/first.log 2>&1 &
until grep -q '^listening ops ' /run/first.log; do
  kill -0 $! 2>/dev/null || { cat /run/first.log; exit 1; }
  sleep 0.1
done
kill $!
wait $!
rm first.yaml
