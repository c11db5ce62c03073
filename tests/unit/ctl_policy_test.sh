#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl policy: documents checked.
set -u
ctl=${top_builddir:?}/wavehousectl
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
n=0

says() { # says NAME STATUS PATTERN COMMAND…: exit status, and a line of either output
    name=$1 want=$2 pattern=$3
    shift 3
    n=$((n + 1))
    "$@" >"$tmp/out" 2>&1
    got=$?
    if [ "$got" -eq "$want" ] && grep -q -e "$pattern" "$tmp/out"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        echo "# exit status $got, wanted $want and a line like: $pattern"
        sed 's/^/# /' "$tmp/out"
    fi
}

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
says "a missing file" 3 'No such file' "$ctl" policy check "$tmp/none"
says "no file" 2 '^usage' "$ctl" policy check
says "no command" 2 '^usage' "$ctl" policy
says "help" 0 'policy check' "$ctl" policy --help
echo "1..$n"
