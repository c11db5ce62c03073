# shellcheck shell=sh disable=SC2034 # used by those who source this
# SPDX-License-Identifier: Apache-2.0
# What tests of wavehousectl share. Sourced, never run: $ctl, a folder $tmp that goes at the end, a count $n of assertions.
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
