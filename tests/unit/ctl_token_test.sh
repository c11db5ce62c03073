#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl token: made, shown, verified.
set -u
# shellcheck source=tests/lib/ctl.sh
. "${srcdir:?}/tests/lib/ctl.sh"

echo 'a secret of the tests' >"$tmp/secret"
echo 'another' >"$tmp/other"
: >"$tmp/empty"
new() {
    "$ctl" token new --secret-file "$tmp/secret" "$@"
}

token=$(new --role viewer --claims '{"org": "a b", "n": 1.50}')
says "a new token verifies" 0 '^verdict  good$' "$ctl" token show --secret-file "$tmp/secret" "$token"
says "its claims are as given, with role, iat and exp" 0 \
    '^claims   {"org":"a b","n":1.50,"role":"viewer","iat":[0-9]*,"exp":[0-9]*}$' "$ctl" token show "$token"
says "without a key it is shown and not believed" 0 '^verdict  not verified' "$ctl" token show "$token"
says "another secret" 1 '^verdict  invalid token: its signature is wrong' \
    "$ctl" token show --secret-file "$tmp/other" "$token"
says "an expired one" 1 '^verdict  token expired' \
    "$ctl" token show --secret-file "$tmp/secret" "$(new --claims '{"exp":1}')"
says "without an end" 0 '^claims   {"iat":[0-9]*}$' "$ctl" token show "$(new --ttl 0)"
for alg in HS256 HS384 HS512; do
    says "$alg" 0 "^header   {\"alg\":\"$alg\"" "$ctl" token show "$(new --alg $alg)"
done
printf '%s\n' "$token" >"$tmp/token"
says "a token from standard input" 0 '^verdict  good$' \
    sh -c "'$ctl' token show --secret-file '$tmp/secret' - <'$tmp/token'"
says "a JWKS never takes a token of a secret" 1 'another family' \
    sh -c "echo '{\"keys\":[]}' >'$tmp/jwks'; '$ctl' token show --jwks '$tmp/jwks' '$token'"
says "a JWKS that is none" 3 'an array "keys"' \
    sh -c "echo '[]' >'$tmp/jwks'; '$ctl' token show --jwks '$tmp/jwks' '$token'"
says "something else than a token" 1 'not a token' "$ctl" token show hello
says "a header that is no JSON is shown as a string" 0 '^header   "\\u001b"$' "$ctl" token show Gw.e30.e30
says "an empty secret" 3 'the secret is empty' "$ctl" token new --secret-file "$tmp/empty"
says "a missing file" 3 'No such file' "$ctl" token new --secret-file "$tmp/none"
says "claims that are no object" 1 'not one JSON object' "$ctl" token new --secret-file "$tmp/secret" --claims '[]'
says "a role given twice" 1 'has a role already' \
    "$ctl" token new --secret-file "$tmp/secret" --role a --claims '{"role":"b"}'
says "an algorithm that needs a private key" 2 '^usage' "$ctl" token new --secret-file "$tmp/secret" --alg RS256
says "a span of time that is none" 2 '^usage' "$ctl" token new --secret-file "$tmp/secret" --ttl soon
says "no secret" 2 '^usage' "$ctl" token new
says "no command" 2 '^usage' "$ctl" token
echo "1..$n"
