#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl wal on the golden log, whole and damaged.
set -u
ctl=${top_builddir:?}/wavehousectl
golden=${srcdir:?}/tests/golden/wal-v1
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
n=0

ok() { # ok NAME COMMAND…: succeeds
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$tmp/out" 2>"$tmp/err"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$tmp/out" "$tmp/err"
    fi
}

exits() { # exits STATUS COMMAND…
    want=$1
    shift
    "$@" >"$tmp/o" 2>&1
    got=$?
    cat "$tmp/o"
    [ "$got" -eq "$want" ]
}

lines() { # lines COUNT COMMAND…
    want=$1
    shift
    "$@" >"$tmp/o" || return 1
    cat "$tmp/o"
    [ "$(wc -l <"$tmp/o")" -eq "$want" ]
}

says() { # says PATTERN STATUS COMMAND…
    pattern=$1
    shift
    exits "$@" && grep -q -e "$pattern" "$tmp/o"
}

damaged() { # damaged FILE OFFSET: a fresh copy with one byte changed
    rm -rf "$tmp/log"
    mkdir "$tmp/log"
    cp "$golden"/seg-*.wal "$tmp/log"
    chmod u+w "$tmp/log"/*
    printf 'X' | dd of="$tmp/log/$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

ok 'help' says 'usage: wavehousectl' 0 "$ctl" --help
ok 'version' says '^wavehousectl [0-9]' 0 "$ctl" --version
ok 'no command: usage' says usage 2 "$ctl"
ok 'unknown command' says unknown 2 "$ctl" nonsense
ok 'dump wants a number' exits 2 "$ctl" wal dump --from x "$golden"
ok 'ls takes no range' exits 2 "$ctl" wal ls --from 1 "$golden"
ok 'a missing folder' says 'No such file' 3 "$ctl" wal ls "$tmp/none"
ok 'an empty folder' says 'no log' 3 "$ctl" wal ls "$tmp"

ok 'ls: sealed, active, prepared' says 'sealed .* first=1 ' 0 "$ctl" wal ls "$golden"
ok 'ls --json' says '"state":"active"' 0 "$ctl" wal ls --json "$golden"
ok 'verify: clean' says '60 entries, 0 damages' 0 "$ctl" wal verify "$golden"
ok 'dump: a line per entry' lines 60 "$ctl" wal dump "$golden"
ok 'dump: a range' lines 11 "$ctl" wal dump --from 20 --to 30 "$golden"
ok 'dump: table and count' says '^11 .*type=events .*table="a table \\"quoted\\"" count=2$' 0 \
    "$ctl" wal dump --from 11 --to 11 "$golden"
ok 'dump --payload: the records' says '1800000000000011001 {"id":1101,' 0 \
    "$ctl" wal dump --payload --from 11 --to 11 "$golden"
ok 'dump --json --payload' says '"records":\[{"received_ns":1800000000000011000,"record":{"id":1100,' 0 \
    "$ctl" wal dump --json --payload --from 11 --to 11 "$golden"

first=seg-00000000000000000001.wal
second=seg-00000000000000000002.wal
damaged $first 8300
ok 'verify: damage, file and offset' says "$first: bytes 8192 to " 1 "$ctl" wal verify "$tmp/log"
ok 'dump goes on behind it' exits 1 "$ctl" wal dump "$tmp/log"
ok 'the entries behind it are there' grep -q '^60 ' "$tmp/o"
ok 'ls shows it' says ' damaged ' 1 "$ctl" wal ls "$tmp/log"
damaged $second 100
ok 'verify: damaged head' says "$second: bytes 0 to 4095: head" 1 "$ctl" wal verify "$tmp/log"
damaged $first 61500
ok 'verify: damaged footer' says "$first: .*footer" 1 "$ctl" wal verify "$tmp/log"
damaged $first 8300
cp "$golden/$first" "$tmp/log/$first"
: >"$tmp/log/$second"
ok 'verify: an empty file' says "$second: .*cut" 1 "$ctl" wal verify "$tmp/log"
rm -f "$tmp/log/$second"
ok 'verify: a missing file' says "$second: .*missing" 1 "$ctl" wal verify "$tmp/log"
echo "1..$n"
