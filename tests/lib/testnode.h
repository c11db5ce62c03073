/* SPDX-License-Identifier: Apache-2.0 */
/* Log, log thread, store and ClickHouse's address of one daemon, for tests that start a flusher on
 * them. */
#ifndef WH_TEST_TESTNODE_H
#define WH_TEST_TESTNODE_H

#include "base/limits.h"
#include "clickhouse/target.h"
#include "cluster/commit.h"
#include "io/io.h"
#include "store/store.h"
#include "tests/lib/tap.h"
#include "wal/wal.h"

#include <stdlib.h>
#include <string.h>

struct testnode {
    struct wal *w;
    struct commit_log *log;
    struct store *store;
    struct ch_target *target;
};

static inline void testnode_on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    printf("# poisoned: %s\n", e->text);
    abort();
}

static inline void testnode_must(int rc, const struct err *e)
{
    if (rc == 0)
        return;
    printf("Bail out! %s\n", e->text);
    exit(99);
}

/* On dir/wal and dir/store; bails out where it fails. */
static inline void testnode_open(struct testnode *n, const char *dir, uint64_t segment_bytes,
                                 uint64_t log_bytes_max, uint64_t map_bytes)
{
    char path[4096];
    struct err e = {0};
    struct wal_recovery r;
    memset(n, 0, sizeof(*n));
    (void)snprintf(path, sizeof(path), "%s/wal", dir);
    struct wal_options wo = {.path = path,
                             .segment_size_bytes = segment_bytes,
                             .bytes_max = log_bytes_max};
    testnode_must(wal_open(&n->w, io_posix(), &wo, &r, &e), &e);
    struct commit_options co = {.queue_cap = 4096,
                                .term = r.last_term + 1,
                                .group_bytes_max = 256 * KIB};
    testnode_must(commit_start(&n->log, n->w, &co, testnode_on_poison, NULL, &e), &e);
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    struct store_options so = {.path = path, .map_bytes = map_bytes};
    testnode_must(store_open(&n->store, &so, &e), &e);
    n->target = ch_target_new(
        &(struct ch_options){.database = "db", .username = "default", .password = ""});
}

static inline void testnode_close(struct testnode *n)
{
    commit_stop(n->log);
    wal_close(n->w);
    store_close(n->store);
    ch_target_unref(n->target);
}

#endif
