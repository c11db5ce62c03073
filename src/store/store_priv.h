/* SPDX-License-Identifier: Apache-2.0 */
/* What store.c and letters.c share; the one place that names LMDB. */
#ifndef WH_STORE_STORE_PRIV_H
#define WH_STORE_STORE_PRIV_H

#include "store/store.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <lmdb.h>

#define STORE_MAGIC     0x53544f52u
#define STORE_TXN_MAGIC 0x5354584eu
#define STORE_VERSION   1
/* LMDB keys end at 511 bytes. A table name beyond NAME_KEPT bytes (ClickHouse keeps one file per
 * table, so none is) is cut there and told apart by length and checksum; the value has it whole. */
#define STORE_NAME_KEPT 400
#define STORE_KEY_CAP   (2 + STORE_NAME_KEPT + 4)

#define META_LOG_ID_MAX 256

struct store_shelf_dbs {
    MDB_dbi letters;  /* id → letter */
    MDB_dbi by_table; /* table key, id → nothing */
    MDB_dbi counts;   /* table key → records, bytes, name */
};

struct store {
    uint32_t magic;
    MDB_env *env;
    MDB_dbi blobs, meta, positions, jobs, control;
    struct store_shelf_dbs shelves[STORE_SHELVES];
};

struct store_meta {
    uint64_t applied_index, low_index, dlq_bytes;
    uint32_t epoch;
    size_t log_id_len;
    char log_id[META_LOG_ID_MAX];
};

struct store_txn {
    uint32_t magic;
    struct store *store;
    MDB_txn *txn;
    struct store_meta meta;
    struct err err; /* sticky */
};

/* Code and text for what LMDB answered. */
int store_err(struct err *e, int rc, const char *what);
/* Keep the first failure of a transaction. */
void store_txn_fail(struct store_txn *t, int rc, const char *what);
/* The key that stands for a table. */
MDB_val store_table_key(struct slice table, char key[STORE_KEY_CAP]);
/* Make the table index of letters that an older version stored. */
int store_letters_migrate(MDB_txn *txn, const struct store_shelf_dbs *dbs);

static inline MDB_val store_val(const void *p, size_t n)
{
    return (MDB_val){.mv_size = n, .mv_data = (void *)(uintptr_t)p};
}

static inline struct slice store_slice(MDB_val v)
{
    return (struct slice){v.mv_data, v.mv_size};
}

static inline void be32_put(char *p, uint32_t v)
{
    le32_put(p, __builtin_bswap32(v));
}

static inline void be64_put(char *p, uint64_t v)
{
    le64_put(p, __builtin_bswap64(v));
}

static inline uint32_t be32_get(const char *p)
{
    return __builtin_bswap32(le32_get(p));
}

static inline uint64_t be64_get(const char *p)
{
    return __builtin_bswap64(le64_get(p));
}

#endif
