#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl policy: documents checked.
set -u
# shellcheck source=tests/lib/ctl.sh
. "${srcdir:?}/tests/lib/ctl.sh"

cat >"$tmp/good" <<'X'
{"default_role": "public",
 "tables": {"events": {"viewer": {"select": {"deny_columns": ["ip"], "max_execution_time": "5s",
                                             "filter": {"org": {"_eq": "{{ jwt.org }}"}}}},
                       "writer": {"insert": {"check": {"org": {"_eq": "{{ jwt.org }}"}}}},
                       "public": {"select": {"allow_columns": ["page"]}}}}}
X
echo '{"tables":{"t":{"select":{"r":{"fliter":{}}}}}}' >"$tmp/typo"
echo '{"tables":{"t":{"select":{"r":{"filter":{"c":{"_ge":"1"}}}}}}}' >"$tmp/bad"
printf '{"tables":{"t":{"select":{"\\u001b[2J":{"max_rows":-1}}}}}' >"$tmp/control"

says "a valid policy" 0 'good: valid, 0 warnings$' "$ctl" policy check "$tmp/good"
says "a mistyped member is a warning" 0 'warning: table "t", op "select", role "r": "fliter" means nothing' \
    "$ctl" policy check "$tmp/typo"
says "and an error when strict" 1 'error: .*"fliter" means nothing' "$ctl" policy check --strict "$tmp/typo"
says "what would not be honoured is an error" 1 'unknown operator "_ge"; known are _eq, _neq' \
    "$ctl" policy check "$tmp/bad"
says "of several files the worst counts" 1 'good: valid' "$ctl" policy check "$tmp/bad" "$tmp/good"
says "standard input" 0 '^-: valid' sh -c "'$ctl' policy check - <'$tmp/good'"
says "as the daemon will answer it" 0 '"tables":{"events":{"select":{"public":{.*"max_execution_time":5000' \
    "$ctl" policy check --print "$tmp/good"
says "names cannot write to the terminal" 1 'role " \[2J": "max_rows" must not be negative' \
    "$ctl" policy check "$tmp/control"
cat >"$tmp/p.yaml" <<'X'
default_role: public
tables:
  events:
    select: {public: {max_execution_time: 5s, max_rows: 0x10}}
X
says "YAML" 0 '"public":{"max_execution_time":5000,"max_rows":16}' "$ctl" policy check --print "$tmp/p.yaml"
printf 'tables: {}\ntables: {}\n' >"$tmp/twice.yaml"
says "a mistake in YAML, with its place" 1 'twice.yaml: error: 2:1: the key "tables" is already in line 1' \
    "$ctl" policy check "$tmp/twice.yaml"
says "a missing file" 3 'No such file' "$ctl" policy check "$tmp/none"
says "no file" 2 '^usage' "$ctl" policy check
says "no command" 2 '^usage' "$ctl" policy
says "help" 0 'policy check' "$ctl" policy --help
says "help of one" 0 'policy explain' "$ctl" policy explain --help

echo 'a secret' >"$tmp/secret"
cat >"$tmp/schema" <<'X'
[{"name":"events","columns":[{"name":"page","type":"String"},{"name":"org","type":"String"},{"name":"ip","type":"IPv4"}]}]
X
explain() {
    "$ctl" policy explain --policy "$tmp/good" "$@"
}
viewer=$("$ctl" token new --secret-file "$tmp/secret" --role viewer --claims '{"org":"a"}')
expired=$("$ctl" token new --secret-file "$tmp/secret" --role viewer --claims '{"exp":1}')
says "a role from a verified token" 0 '^select   allowed: as role "viewer"$' \
    explain --token "$viewer" --secret-file "$tmp/secret" events
says "what it may not" 0 '^insert   denied, 403 "forbidden": the role has no grant' explain --token "$viewer" events
says "its columns" 0 'columns: never "ip"' explain --token "$viewer" events
says "its limits" 0 'at most time: 5000 ms' explain --token "$viewer" events
# shellcheck disable=SC2016 # SQL quotes names with backticks
says "its rows" 0 'rows: only where "(`org` = {p0:String})"' explain --token "$viewer" events
says "the values behind them" 0 '^      p0 = "a"$' explain --token "$viewer" events
says "a missing claim: no rows" 0 'only where "(1 = 0)"' explain --claims '{"role":"viewer"}' events
says "without a token: the default role" 0 '^select   allowed: as role "public", the default role$' explain events
says "an expired token falls back to the default role" 0 'as role "public", the default role' \
    explain --token "$expired" --secret-file "$tmp/secret" events
says "and is the reason where that is denied" 1 'denied, 401 "token expired"' \
    explain --token "$expired" --secret-file "$tmp/secret" other
says "nothing allowed" 1 '^select   denied, 403 "forbidden"' explain --claims '{"role":"x"}' events
says "the admin role" 0 '^ops      allowed without restriction' explain --claims '{"role":"admin"}' events
says "a role elsewhere in the claims" 0 'as role "viewer"' \
    explain --role-claim app.role --claims '{"app":{"role":"viewer"}}' events
says "a record that a stream delivers" 0 'a stream would deliver the record' \
    explain --claims '{"role":"viewer","org":"a"}' --schema "$tmp/schema" --record '{"org":"a"}' events
says "one that it does not" 0 'would not deliver the record: absent' \
    explain --claims '{"role":"viewer","org":"a"}' --schema "$tmp/schema" --record '{}' events
says "a record that is stamped" 0 'is accepted, with "org":"a"' \
    explain --claims '{"role":"writer","org":"a"}' --schema "$tmp/schema" --record '{"page":"/"}' events
says "one that is refused" 0 'is refused, 403: "check failed for column .*org' \
    explain --claims '{"role":"writer","org":"a"}' --schema "$tmp/schema" --record '{"org":"b"}' events
says "checks that the claims cannot meet" 0 'every record is refused' explain --claims '{"role":"writer"}' events
says "an invalid policy" 1 'error: ' "$ctl" policy explain --policy "$tmp/bad" events
says "no table" 2 '^usage' explain
says "keys without a token" 2 '^usage' explain --secret-file "$tmp/secret" events
echo "1..$n"
