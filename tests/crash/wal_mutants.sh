#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Deliberate faults in the log: each must be caught by a unit test, or the test is worth nothing.
#
# usage: tests/crash/wal_mutants.sh     from a build folder after make check (not part of it: it compiles)
#
# A mutant is one sed command on one file. That it changed the file is checked as well, so that a
# mutant cannot go stale in silence.
set -u
src=$(cd "$(dirname "$0")/../.." && pwd)
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
n=0

mutant() { # mutant NAME FILE SED TEST…
    name=$1 file=$2 sed=$3
    shift 3
    n=$((n + 1))
    sed -e "$sed" "$src/wal/$file.c" >"$tmp/$file.c"
    if cmp -s "$src/wal/$file.c" "$tmp/$file.c"; then
        echo "not ok $n - $name # the mutation no longer applies"
        return
    fi
    ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -w -O1 -I"$src/src" -I"$src" -c -o "$tmp/$file.o" "$tmp/$file.c" || exit 99
    for t in "$@"; do
        # The mutant's object comes first, so the library's own is not taken.
        ${CC:-cc} -D_GNU_SOURCE -w -O1 -I"$src/src" -I"$src" -o "$tmp/test" "$src/tests/unit/$t.c" \
            "$tmp/$file.o" libfakedisk.a libwal.a libio.a libbase.a -lpthread || exit 99
        if ! timeout 60 "$tmp/test" >"$tmp/log" 2>&1; then
            echo "ok $n - $name: caught by $t ($(grep -c '^not ok' "$tmp/log") tests)"
            return
        fi
    done
    echo "not ok $n - $name: survived $*"
}

mutant 'acknowledged before the sync' writer \
    's/int rc = w->io->fdatasync(w->io->ctx, w->active->fd);/int rc = 0;/' wal_crash_test
mutant 'folder not synced after rename and unlink' keep \
    's/rc = w->io->sync_dir(w->io->ctx, w->path);/rc = 0;/' wal_crash_test
mutant 'a used file gets its name before its head is durable' pool \
    's/return io->fsync(io->ctx, fd);/return 0;/' wal_crash_test
mutant 'a used file is written while its old name may come back' keep \
    '/^static int trim_one/,/^}/s/w->dir_dirty = true;/w->dir_dirty = !pooled;/' wal_crash_test
mutant 'the same after a failed folder sync' pool 's/(rc = wal_sync_names(w)) != 0/0/' wal_fault_test
mutant 'a used file keeps its old head, number and salt' pool \
    's/(rc = io->pwritev(io->ctx, fd, &iov, 1, 0)) != 0/0/' wal_crash_test
mutant 'groups of the former life are believed' format \
    's/out->crc != placed_crc(head, offset, p, G_CRC)/0/; s/le64_get(p + G_NUMBER) != head->number ||//' \
    wal_damage_test
mutant 'what the former life left is taken for torn' scan 's/if (head->former == 0)/if (1)/' wal_damage_test
mutant 'what is torn in a used file stays' scan 's/return wal_block_align(at + g->length);/return at;/' wal_damage_test
mutant 'files that wait for reuse go over the budget' pool 's/return true;/return false;/' wal_fault_test
mutant 'trimmed before the next segment has begun' keep \
    's/wal_durable_index(w) >= w->segs\[1\]->first_index/true/' wal_fault_test
mutant 'prepared segment not synced before its name' keep \
    's/(rc = io->fsync(io->ctx, \*fd)) != 0/0/' wal_crash_test
mutant 'rot is cut' scan 's/out->tail = WAL_TAIL_ROT;/out->tail = WAL_TAIL_TORN;/' wal_damage_test
mutant 'the cache is believed after a failed sync' recover \
    's/(void)io->drop_cache(io->ctx, fd);/(void)0;/' wal_crash_test
mutant 'recovery does not sync what it keeps' recover \
    's/fresh && ((rc = io->fdatasync(io->ctx, fd)) != 0)/0/; s/rc = io->fdatasync(io->ctx, f->seg->fd);/rc = 0;/' \
    wal_crash_test
mutant 'a footer counts without its groups' recover 's/if (!\*complete)/*complete = true; if (0)/' wal_crash_test
mutant 'a failed write is ignored' writer \
    's/return rc == 0 ? 0 : wal_fail(w, rc, "write", offset, n);/return 0;/' wal_crash_test wal_fault_test
mutant 'synced-to runs ahead' writer 's/g->synced_to = w->act.synced;/g->synced_to = offset;/' wal_crash_test
mutant 'payload checksum not looked at' cursor 's/crc32c(0, payload, en.payload_len) != en.payload_crc/0/' wal_damage_test
mutant 'a pinned segment is deleted' keep 's/seg->refs > 0 || //' wal_fault_test
mutant 'a cursor runs past the commit mark' cursor \
    's/c->next_index > wal_commit_index(c->w)/c->next_index > wal_durable_index(c->w)/' wal_log_test
mutant 'torn bytes are left in place' recover 's/return wipe(r, f, base, offset, t.dirty_end, e);/return 0;/' \
    wal_crash_test wal_damage_test
echo "1..$n"
