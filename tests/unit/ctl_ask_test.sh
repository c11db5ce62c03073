#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wavehousectl dlq, drift, replay without a daemon: help, wrong usage, and a server that is not there.
set -u
# shellcheck source=tests/lib/ctl.sh
. "${srcdir:?}/tests/lib/ctl.sh"
unset WAVEHOUSE_URL WAVEHOUSE_OPERATOR_KEY WAVEHOUSE_TOKEN

asks() { # asks STATUS PATTERN ARGUMENTS…
    status=$1 line=$2
    shift 2
    says "$*" "$status" "$line" "$ctl" "$@" </dev/null
}

asks 0 'wavehousectl dlq replay ID' --help
asks 0 'wavehousectl drift ' --help
asks 0 'wavehousectl replay --table T --from' --help
asks 0 'dlq purge' dlq --help
asks 2 'dlq purge' dlq
asks 2 'there is no "dlq nonsense"' dlq nonsense
asks 0 '^usage: wavehousectl dlq list' dlq list --help
asks 0 'request that brought it' dlq show --help
asks 0 'VISUAL' dlq edit --help
asks 0 'cast COLUMN=string|integer|number|boolean' dlq replay --help
asks 0 'receipt' dlq purge --help
asks 0 'How many' dlq stats --help
asks 0 'wavehousectl pipe set NAME' --help
asks 0 'wavehousectl policy set FILE' policy --help
asks 0 'pipe rm NAME' pipe --help
asks 0 'keep a copy of it' policy get --help
asks 0 'in force for the next request' policy set --help
asks 0 'Nothing is' policy validate --help
asks 0 'what the pipe has besides stays' pipe set --help
asks 2 'usage: wavehousectl policy set FILE' policy set
asks 2 'usage: wavehousectl pipe set NAME' pipe set onlyname
asks 2 'removes pipes. Say so with --yes' pipe rm p
asks 3 'nowhere' policy set "$tmp/nowhere"
asks 3 'wavehousectl: ' policy get --server http://127.0.0.1:1
asks 3 'wavehousectl: ' pipe list --server http://127.0.0.1:1
asks 0 'ALTER TABLE' drift --help
asks 0 'row of the range once' replay --help
asks 0 'Jobs under way' replay list --help
asks 0 'until it is over' replay show --help
asks 0 'position' replay cancel --help

printf 'two words\n' >"$tmp/bad.key"
asks 0 'operator-key-file FILE' dlq stats --help
asks 3 'No such file' dlq stats --operator-key-file "$tmp/no.key"
asks 3 'bad.key holds no operator key' dlq stats --operator-key-file "$tmp/bad.key"
asks 3 'bad.key holds no token' dlq stats --token-file "$tmp/bad.key"

asks 2 'usage: wavehousectl dlq show ID' dlq show
asks 2 'usage: wavehousectl dlq show ID' dlq show 1 2
asks 2 'rate is no option of this command' dlq list --rate 1
asks 2 'limit wants a number' dlq list --limit x
asks 2 'unrecognized option' dlq list --tabel x
asks 2 'say what to replay: ids, --table, --before, or --all' dlq replay
asks 2 'either ids, or' dlq replay 1-2-3 --all
asks 2 'rename wants FROM=TO' dlq replay --all --rename a
asks 2 'cast wants COLUMN=string' dlq replay --all --cast =integer
asks 2 'set wants COLUMN=VALUE' dlq replay --all --set a
asks 2 'rules wants a JSON array' dlq replay --all --rules '{"drop":"a"}'
asks 2 'error-code want' dlq replay --all --error-code six
asks 2 'say what to purge' dlq purge --yes
asks 2 'deletes records for good. Say so with --yes' dlq purge --all
asks 2 '.*--table and --from are needed' replay --table t
asks 2 '.*--table and --from are needed' replay --table t --from ''
asks 2 'rate wants rows' replay --table t --from 0 --into u --rate fast
asks 2 'will be there twice. Say so with --yes' replay --table t --from 0
asks 2 'will be there twice. Say so with --yes' replay --table t --from 0 --into t

asks 2 'is no server address' dlq stats --server localhost:8080
asks 2 'is no server address' dlq stats --server http://
asks 2 'is no server address' dlq stats --server http://user@host
asks 2 'is no server address' dlq stats --server http://host:port
asks 2 'no TLS here' dlq stats --server https://host
# Port 1 (tcpmux) is not listened to on any machine of these days.
asks 3 'cannot reach wavehoused at 127.0.0.1 port 1 ' dlq stats --server http://127.0.0.1:1
asks 3 'cannot reach wavehoused at ::1 port 1 ' drift --server 'http://[::1]:1/'
WAVEHOUSE_URL=http://127.0.0.1:1/prefix
export WAVEHOUSE_URL
asks 3 'cannot reach wavehoused at 127.0.0.1 port 1 ' replay list
asks 3 'cannot reach' dlq purge --all --yes
asks 3 'cannot reach' replay --table t --from 1h --into u
echo "1..$n"
