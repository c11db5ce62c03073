#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl dlq, drift, replay without a daemon: help, wrong usage, and a server that is not there.
set -u
ctl=${top_builddir:?}/wavehousectl
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
unset WAVEHOUSE_URL WAVEHOUSE_OPERATOR_KEY WAVEHOUSE_TOKEN
n=0

says() { # says STATUS PATTERN ARGUMENTS…
    want=$1 pattern=$2
    shift 2
    n=$((n + 1))
    "$ctl" "$@" >"$tmp/o" 2>&1 </dev/null
    got=$?
    if [ "$got" -eq "$want" ] && grep -q -e "$pattern" "$tmp/o"; then
        echo "ok $n - $*"
    else
        echo "not ok $n - $*"
        echo "# status $got, wanted $want and $pattern"
        sed 's/^/# /' "$tmp/o"
    fi
}

says 0 'wavehousectl dlq replay ID' --help
says 0 'wavehousectl drift ' --help
says 0 'wavehousectl replay --table T --from' --help
says 0 'dlq purge' dlq --help
says 2 'dlq purge' dlq
says 2 'there is no "dlq nonsense"' dlq nonsense
says 0 '^usage: wavehousectl dlq list' dlq list --help
says 0 'request that brought it' dlq show --help
says 0 'VISUAL' dlq edit --help
says 0 'cast COLUMN=string|integer|number|boolean' dlq replay --help
says 0 'receipt' dlq purge --help
says 0 'How many' dlq stats --help
says 0 'wavehousectl pipe set NAME' --help
says 0 'wavehousectl policy set FILE' policy --help
says 0 'pipe rm NAME' pipe --help
says 0 'keep a copy of it' policy get --help
says 0 'in force for the next request' policy set --help
says 0 'Nothing is' policy validate --help
says 0 'what the pipe has besides stays' pipe set --help
says 2 'usage: wavehousectl policy set FILE' policy set
says 2 'usage: wavehousectl pipe set NAME' pipe set onlyname
says 2 'removes pipes. Say so with --yes' pipe rm p
says 3 'nowhere' policy set "$tmp/nowhere"
says 3 'wavehousectl: ' policy get --server http://127.0.0.1:1
says 3 'wavehousectl: ' pipe list --server http://127.0.0.1:1
says 0 'ALTER TABLE' drift --help
says 0 'row of the range once' replay --help
says 0 'Jobs under way' replay list --help
says 0 'until it is over' replay show --help
says 0 'position' replay cancel --help

printf 'two words\n' >"$tmp/bad.key"
says 0 'operator-key-file FILE' dlq stats --help
says 3 'No such file' dlq stats --operator-key-file "$tmp/no.key"
says 3 'bad.key holds no operator key' dlq stats --operator-key-file "$tmp/bad.key"
says 3 'bad.key holds no token' dlq stats --token-file "$tmp/bad.key"

says 2 'usage: wavehousectl dlq show ID' dlq show
says 2 'usage: wavehousectl dlq show ID' dlq show 1 2
says 2 'rate is no option of this command' dlq list --rate 1
says 2 'limit wants a number' dlq list --limit x
says 2 'unrecognized option' dlq list --tabel x
says 2 'say what to replay: ids, --table, --before, or --all' dlq replay
says 2 'either ids, or' dlq replay 1-2-3 --all
says 2 'rename wants FROM=TO' dlq replay --all --rename a
says 2 'cast wants COLUMN=string' dlq replay --all --cast =integer
says 2 'set wants COLUMN=VALUE' dlq replay --all --set a
says 2 'rules wants a JSON array' dlq replay --all --rules '{"drop":"a"}'
says 2 'error-code want' dlq replay --all --error-code six
says 2 'say what to purge' dlq purge --yes
says 2 'deletes records for good. Say so with --yes' dlq purge --all
says 2 '.*--table and --from are needed' replay --table t
says 2 '.*--table and --from are needed' replay --table t --from ''
says 2 'rate wants rows' replay --table t --from 0 --into u --rate fast
says 2 'will be there twice. Say so with --yes' replay --table t --from 0
says 2 'will be there twice. Say so with --yes' replay --table t --from 0 --into t

says 2 'is no server address' dlq stats --server localhost:8080
says 2 'is no server address' dlq stats --server http://
says 2 'is no server address' dlq stats --server http://user@host
says 2 'is no server address' dlq stats --server http://host:port
says 2 'no TLS here' dlq stats --server https://host
# Port 1 (tcpmux) is not listened to on any machine of these days.
says 3 'cannot reach wavehoused at 127.0.0.1 port 1 ' dlq stats --server http://127.0.0.1:1
says 3 'cannot reach wavehoused at ::1 port 1 ' drift --server 'http://[::1]:1/'
WAVEHOUSE_URL=http://127.0.0.1:1/prefix
export WAVEHOUSE_URL
says 3 'cannot reach wavehoused at 127.0.0.1 port 1 ' replay list
says 3 'cannot reach' dlq purge --all --yes
says 3 'cannot reach' replay --table t --from 1h --into u
echo "1..$n"
