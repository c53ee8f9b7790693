#!/bin/sh
# Makes the certificates of the tests anew: an authority that no host trusts, and a server of the loopback interface. They
# hold from 2020 on, whatever the clock says, for a hundred years.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cat >"$scratch/config" <<END
[ca]
default_ca = tests
[tests]
database = $scratch/index
new_certs_dir = $scratch
rand_serial = yes
default_md = sha256
default_startdate = 20200101000000Z
default_enddate = 21200101000000Z
policy = policy
[policy]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1
[req]
distinguished_name = name
[name]
END
: >"$scratch/index"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
request() { openssl req -config "$scratch/config" -new -key "$1" -subj "/CN=$2" -out "$scratch/request"; }
sign() { openssl ca -config "$scratch/config" -batch -notext -in "$scratch/request" "$@"; }
key "$scratch/authority.key"
request "$scratch/authority.key" 'fam-build tests'
sign -selfsign -keyfile "$scratch/authority.key" -extensions authority -out authority.pem
key server.key
request server.key 127.0.0.1
sign -keyfile "$scratch/authority.key" -cert authority.pem -extensions server -out server.pem
