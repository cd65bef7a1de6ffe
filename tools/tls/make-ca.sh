#!/usr/bin/env bash
# Makes a certificate authority, and a certificate and key per server of the shop: for development and compose.tls.yaml. In
# production, take the certificates of your own authority.
#
#   tools/tls/make-ca.sh FOLDER              for the servers of compose.yaml
#   tools/tls/make-ca.sh FOLDER NAME…        for servers of these names
#
# Each certificate is for the server's name, localhost, 127.0.0.1, and ::1. FOLDER gets
#
#   ca.pem, ca.key                the authority; clients need the first, and nobody but this script the second
#   NAME.pem, NAME.key            a server's certificate, and its key (mode 0600)
#
# A second call keeps the authority and the keys, and makes new certificates: those of a year for servers, ten years for the
# authority. The servers of the shop read a replaced certificate within seconds; nats-server and PostgreSQL on SIGHUP.
set -euo pipefail

folder=${1:?the folder for the certificates is missing: tools/tls/make-ca.sh FOLDER [NAME…]}
shift
names=("$@")
if [ "${#names[@]}" = 0 ]; then
  names=(nats postgres api-gateway order-service inventory-service account-service payment-service
    notification-service projection-service payment-provider)
fi
if ! command -v openssl >/dev/null; then
  echo 'openssl is missing: install it first (on Debian: apt-get install openssl)' >&2
  exit 1
fi

umask 077
mkdir -p "$folder"
cd "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Keys on the curve P-256, which every version of TLS in use supports.
new_key() {
  [ -e "$1" ] || openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

new_key ca.key
if [ ! -e ca.pem ]; then
  # It may sign servers and no further authorities.
  openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj '/CN=Authority of the sample shop' \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -out ca.pem
fi
for name in "${names[@]}"; do
  new_key "$name.key"
  cat >"$work/extensions" <<END
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:$name,DNS:localhost,IP:127.0.0.1,IP:::1
END
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$work/request"
  openssl x509 -req -in "$work/request" -CA ca.pem -CAkey ca.key -sha256 -days 365 -extfile "$work/extensions" \
    -out "$work/certificate" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  # A server that reads the file meanwhile finds the old one or the new one.
  mv "$work/certificate" "$name.pem"
done
chmod a+r ./*.pem
echo "the certificates of ${names[*]} are in $folder"
