/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STORE_MAGIC     0x53544f52u
#define STORE_TXN_MAGIC 0x5354584eu

#define STORE_MAP_BYTES_DEFAULT (32 * GIB)
#define STORE_BLOB_BYTES_MAX    (64 * MIB)
#define STORE_VERSION           1
/* LMDB keys end at 511 bytes. A table name beyond NAME_KEPT bytes (ClickHouse keeps one file per
 * table, so none is) is cut there and told apart by length and checksum; the value has it whole. */
#define STORE_NAME_KEPT 400
#define STORE_KEY_CAP   (2 + STORE_NAME_KEPT + 4)

/* Value of a dead letter, then table, text, record. */
enum {
    DEAD_VERSION = 0,
    DEAD_TABLE_LEN = 2,
    DEAD_CODE = 4,
    DEAD_FAILED_NS = 8,
    DEAD_RECEIVED_NS = 16,
    DEAD_TEXT_LEN = 24,
    DEAD_RECORD_LEN = 28,
    DEAD_HEAD = 32
};
/* Key of a dead letter: big-endian, so that key order is age. */
enum {
    DEAD_KEY_EPOCH = 0,
    DEAD_KEY_INDEX = 4,
    DEAD_KEY_ORDINAL = 12,
    DEAD_KEY_LEN = 16
};
/* Value of meta "flush", then the log id. */
enum {
    META_VERSION = 0,
    META_EPOCH = 4,
    META_APPLIED = 8,
    META_LOW = 16,
    META_DLQ_BYTES = 24,
    META_HEAD = 32,
    META_LOG_ID_MAX = 256
};

struct store {
    uint32_t magic;
    MDB_env *env;
    MDB_dbi blobs, meta, positions, dead, dead_count;
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

static int store_code(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return WH_ENOTFOUND;
    case MDB_MAP_FULL:
        return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return WH_ECORRUPT;
    default:
        return rc > 0 ? -rc : -EIO;
    }
}

static int store_err(struct err *e, int rc, const char *what)
{
    const char *hint = "";
    if (store_code(rc) == WH_ECORRUPT)
        hint =
            "; move the store folder away to start with an empty one (positions are rebuilt from "
            "the log, dead letters older than the log are lost)";
    else if (rc == MDB_MAP_FULL)
        hint = "; the store reached its largest size, lower dlq.max_bytes";
    return err_set(e, store_code(rc), "store: %s: %s%s", what, mdb_strerror(rc), hint);
}

static MDB_val val(const void *p, size_t n)
{
    return (MDB_val){.mv_size = n, .mv_data = (void *)(uintptr_t)p};
}

static struct slice val_slice(MDB_val v)
{
    return (struct slice){v.mv_data, v.mv_size};
}

static void be32_put(char *p, uint32_t v)
{
    le32_put(p, __builtin_bswap32(v));
}

static void be64_put(char *p, uint64_t v)
{
    le64_put(p, __builtin_bswap64(v));
}

static MDB_val table_key(struct slice table, char key[STORE_KEY_CAP])
{
    size_t kept = table.len < STORE_NAME_KEPT ? table.len : STORE_NAME_KEPT;
    le16_put(key, (uint16_t)table.len);
    if (kept > 0)
        memcpy(key + 2, table.ptr, kept);
    if (kept == table.len)
        return val(key, 2 + kept);
    le32_put(key + 2 + kept, crc32c(0, table.ptr, table.len));
    return val(key, 2 + kept + 4);
}

/* ---- open and close ---- */

static int store_open_dbs(struct store *s)
{
    static const char *const names[] = {"blobs", "meta", "positions", "dead", "dead_count"};
    MDB_dbi *const dbis[] = {&s->blobs, &s->meta, &s->positions, &s->dead, &s->dead_count};
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++)
        rc = mdb_dbi_open(txn, names[i], MDB_CREATE, dbis[i]);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

int store_open(struct store **out, const struct store_options *options, struct err *e)
{
    struct store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(e, -ENOMEM, "store: out of memory");
    s->magic = STORE_MAGIC;
    if (mkdir(options->path, 0700) != 0 && errno != EEXIST) {
        int code = -errno;
        free(s);
        return err_set_errno(e, code, "store: cannot make folder %s", options->path);
    }
    uint64_t map = options->map_bytes > 0 ? options->map_bytes : STORE_MAP_BYTES_DEFAULT;
    map = (map + MIB - 1) / MIB * MIB;
    int rc = mdb_env_create(&s->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, map);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, 8);
    /* NOTLS: a reader belongs to its transaction, not to its thread. */
    if (rc == 0)
        rc = mdb_env_open(s->env, options->path, MDB_NOTLS, 0600);
    if (rc == 0)
        rc = store_open_dbs(s);
    if (rc != 0) {
        store_err(e, rc, options->path);
        store_close(s);
        return store_code(rc);
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, STORE_MAGIC);
    if (s->env != NULL)
        mdb_env_close(s->env);
    s->magic = 0;
    free(s);
}

uint64_t store_bytes_max(const struct store *s)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_envinfo info;
    return mdb_env_info(s->env, &info) == 0 ? info.me_mapsize : 0;
}

/* ---- blobs ---- */

static int store_blob_write(struct store *s, const char *name, const struct slice *value,
                            struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    size_t len = strlen(name);
    if (len == 0 || len > STORE_NAME_KEPT || (value != NULL && value->len > STORE_BLOB_BYTES_MAX))
        return err_set(e, WH_ELIMIT, "store: blob \"%.40s\" is over a limit", name);
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return store_err(e, rc, name);
    MDB_val k = val(name, len);
    if (value != NULL) {
        MDB_val v = val(value->ptr, value->len);
        rc = mdb_put(txn, s->blobs, &k, &v, 0);
    } else {
        rc = mdb_del(txn, s->blobs, &k, NULL);
        if (rc == MDB_NOTFOUND)
            rc = 0;
    }
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc == 0 ? 0 : store_err(e, rc, name);
}

int store_blob_put(struct store *s, const char *name, struct slice value, struct err *e)
{
    return store_blob_write(s, name, &value, e);
}

int store_blob_delete(struct store *s, const char *name, struct err *e)
{
    return store_blob_write(s, name, NULL, e);
}

int store_blob_get(struct store *s, const char *name, struct buf *out, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, name);
    MDB_val k = val(name, strlen(name)), v;
    rc = mdb_get(txn, s->blobs, &k, &v);
    if (rc == 0)
        buf_put_slice(out, val_slice(v));
    mdb_txn_abort(txn);
    if (rc != 0)
        return store_err(e, rc, name);
    return buf_ok(out) ? 0 : err_set(e, -ENOMEM, "store: out of memory for %s", name);
}

/* ---- dead letters, reading ---- */

static bool dead_parse(MDB_val key, MDB_val value, struct store_dead_letter *d)
{
    const char *p = value.mv_data, *k = key.mv_data;
    if (key.mv_size != DEAD_KEY_LEN || value.mv_size < DEAD_HEAD ||
        p[DEAD_VERSION] != STORE_VERSION)
        return false;
    d->index = __builtin_bswap64(le64_get(k + DEAD_KEY_INDEX));
    d->ordinal = __builtin_bswap32(le32_get(k + DEAD_KEY_ORDINAL));
    d->code = (int32_t)le32_get(p + DEAD_CODE);
    d->failed_at_ns = le64_get(p + DEAD_FAILED_NS);
    d->received_ns = le64_get(p + DEAD_RECEIVED_NS);
    d->table = (struct slice){p + DEAD_HEAD, le16_get(p + DEAD_TABLE_LEN)};
    d->text = (struct slice){d->table.ptr + d->table.len, le32_get(p + DEAD_TEXT_LEN)};
    d->record = (struct slice){d->text.ptr + d->text.len, le32_get(p + DEAD_RECORD_LEN)};
    return value.mv_size == DEAD_HEAD + d->table.len + d->text.len + d->record.len;
}

int store_dlq_each(struct store *s, struct slice table,
                   bool (*each)(void *ctx, const struct store_dead_letter *d), void *ctx,
                   struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    MDB_cursor *c = NULL;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "dead letters");
    MDB_val k, v;
    rc = mdb_cursor_open(txn, s->dead, &c);
    while (rc == 0 && (rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        struct store_dead_letter d;
        if (!dead_parse(k, v, &d))
            rc = MDB_CORRUPTED;
        else if ((table.len == 0 || slice_eq(table, d.table)) && !each(ctx, &d))
            break;
    }
    if (c != NULL)
        mdb_cursor_close(c);
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(e, rc, "dead letters");
}

int store_dlq_counts(struct store *s,
                     void (*each)(void *ctx, struct slice table, uint64_t records, uint64_t bytes),
                     void *ctx, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    MDB_cursor *c = NULL;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "dead letter counts");
    MDB_val k, v;
    rc = mdb_cursor_open(txn, s->dead_count, &c);
    while (rc == 0 && (rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        struct slice s8 = val_slice(v);
        if (s8.len < 16)
            rc = MDB_CORRUPTED;
        else
            each(ctx, (struct slice){s8.ptr + 16, s8.len - 16}, le64_get(s8.ptr),
                 le64_get(s8.ptr + 8));
    }
    if (c != NULL)
        mdb_cursor_close(c);
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(e, rc, "dead letter counts");
}

/* ---- the flusher's state ---- */

static int meta_get(struct store *s, MDB_txn *txn, struct store_meta *m)
{
    MDB_val k = val("flush", 5), v;
    memset(m, 0, sizeof(*m));
    int rc = mdb_get(txn, s->meta, &k, &v);
    if (rc != 0)
        return rc;
    const char *p = v.mv_data;
    if (v.mv_size < META_HEAD || v.mv_size - META_HEAD > META_LOG_ID_MAX ||
        p[META_VERSION] != STORE_VERSION)
        return MDB_CORRUPTED;
    m->epoch = le32_get(p + META_EPOCH);
    m->applied_index = le64_get(p + META_APPLIED);
    m->low_index = le64_get(p + META_LOW);
    m->dlq_bytes = le64_get(p + META_DLQ_BYTES);
    m->log_id_len = v.mv_size - META_HEAD;
    memcpy(m->log_id, p + META_HEAD, m->log_id_len);
    return 0;
}

static int meta_put(struct store *s, MDB_txn *txn, const struct store_meta *m)
{
    char p[META_HEAD + META_LOG_ID_MAX] = {0};
    p[META_VERSION] = STORE_VERSION;
    le32_put(p + META_EPOCH, m->epoch);
    le64_put(p + META_APPLIED, m->applied_index);
    le64_put(p + META_LOW, m->low_index);
    le64_put(p + META_DLQ_BYTES, m->dlq_bytes);
    memcpy(p + META_HEAD, m->log_id, m->log_id_len);
    MDB_val k = val("flush", 5), v = val(p, META_HEAD + m->log_id_len);
    return mdb_put(txn, s->meta, &k, &v, 0);
}

static int positions_read(struct store *s, MDB_txn *txn,
                          void (*position)(void *ctx, struct slice table, uint64_t index),
                          void *ctx)
{
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, s->positions, &c);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        struct slice p = val_slice(v);
        if (p.len < 8) {
            rc = MDB_CORRUPTED;
            break;
        }
        position(ctx, (struct slice){p.ptr + 8, p.len - 8}, le64_get(p.ptr));
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_flush_load(struct store *s, struct slice log_id, struct store_flush_state *out,
                     void (*position)(void *ctx, struct slice table, uint64_t index), void *ctx,
                     struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    struct store_meta m;
    memset(out, 0, sizeof(*out));
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "positions");
    rc = meta_get(s, txn, &m);
    if (rc == 0 && !slice_eq((struct slice){m.log_id, m.log_id_len}, log_id))
        rc = MDB_NOTFOUND;
    if (rc == 0) {
        out->applied_index = m.applied_index;
        out->low_index = m.low_index;
        out->epoch = m.epoch;
        rc = positions_read(s, txn, position, ctx);
    }
    mdb_txn_abort(txn);
    return rc == 0 ? 0 : store_err(e, rc, "positions");
}

/* ---- write transaction ---- */

static void txn_fail(struct store_txn *t, int rc, const char *what)
{
    if (rc != 0 && t->err.code == 0)
        (void)store_err(&t->err, rc, what);
}

int store_txn_begin(struct store *s, struct store_txn **out, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    struct store_txn *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return err_set(e, -ENOMEM, "store: out of memory");
    t->magic = STORE_TXN_MAGIC;
    t->store = s;
    int rc = mdb_txn_begin(s->env, NULL, 0, &t->txn);
    if (rc != 0) {
        free(t);
        return store_err(e, rc, "begin");
    }
    rc = meta_get(s, t->txn, &t->meta);
    if (rc != 0 && rc != MDB_NOTFOUND)
        txn_fail(t, rc, "meta");
    *out = t;
    return 0;
}

void store_txn_reset(struct store_txn *t, struct slice log_id)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    must(log_id.len <= META_LOG_ID_MAX);
    t->meta.epoch++;
    t->meta.applied_index = t->meta.low_index = 0;
    memcpy(t->meta.log_id, log_id.ptr, log_id.len);
    t->meta.log_id_len = log_id.len;
    if (t->err.code == 0)
        txn_fail(t, mdb_drop(t->txn, t->store->positions, 0), "reset");
}

void store_txn_position(struct store_txn *t, struct slice table, uint64_t index)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code != 0)
        return;
    char key[STORE_KEY_CAP], value[8];
    MDB_val k = table_key(table, key), v = {.mv_size = sizeof(value) + table.len};
    le64_put(value, index);
    int rc = mdb_put(t->txn, t->store->positions, &k, &v, MDB_RESERVE);
    if (rc == 0) {
        memcpy(v.mv_data, value, sizeof(value));
        memcpy((char *)v.mv_data + sizeof(value), table.ptr, table.len);
    }
    txn_fail(t, rc, "position");
}

void store_txn_applied(struct store_txn *t, uint64_t applied_index, uint64_t low_index)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    t->meta.applied_index = applied_index;
    t->meta.low_index = low_index;
}

/* Add to a table's count; a count of zero goes away. */
static int count_add(struct store_txn *t, struct slice table, int64_t records, int64_t bytes)
{
    char key[STORE_KEY_CAP];
    uint64_t have_records = 0, have_bytes = 0;
    MDB_val k = table_key(table, key), v;
    int rc = mdb_get(t->txn, t->store->dead_count, &k, &v);
    if (rc == 0 && v.mv_size >= 16) {
        have_records = le64_get(v.mv_data);
        have_bytes = le64_get((char *)v.mv_data + 8);
    } else if (rc != MDB_NOTFOUND) {
        return rc == 0 ? MDB_CORRUPTED : rc;
    }
    have_records += (uint64_t)records;
    have_bytes += (uint64_t)bytes;
    t->meta.dlq_bytes += (uint64_t)bytes;
    if (have_records == 0)
        return mdb_del(t->txn, t->store->dead_count, &k, NULL);
    v = (MDB_val){.mv_size = 16 + table.len};
    rc = mdb_put(t->txn, t->store->dead_count, &k, &v, MDB_RESERVE);
    if (rc != 0)
        return rc;
    le64_put(v.mv_data, have_records);
    le64_put((char *)v.mv_data + 8, have_bytes);
    memcpy((char *)v.mv_data + 16, table.ptr, table.len);
    return 0;
}

void store_txn_dead_letter(struct store_txn *t, const struct store_dead_letter *d)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code != 0)
        return;
    must(d->table.len > 0 && d->table.len <= UINT16_MAX);
    char key[DEAD_KEY_LEN];
    be32_put(key + DEAD_KEY_EPOCH, t->meta.epoch);
    be64_put(key + DEAD_KEY_INDEX, d->index);
    be32_put(key + DEAD_KEY_ORDINAL, d->ordinal);
    MDB_val k = val(key, sizeof(key));
    MDB_val v = {.mv_size = DEAD_HEAD + d->table.len + d->text.len + d->record.len};
    size_t bytes = v.mv_size + sizeof(key);
    int rc = mdb_put(t->txn, t->store->dead, &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST)
        return;
    if (rc == 0) {
        char *p = v.mv_data;
        memset(p, 0, DEAD_HEAD);
        p[DEAD_VERSION] = STORE_VERSION;
        le16_put(p + DEAD_TABLE_LEN, (uint16_t)d->table.len);
        le32_put(p + DEAD_CODE, (uint32_t)d->code);
        le64_put(p + DEAD_FAILED_NS, d->failed_at_ns);
        le64_put(p + DEAD_RECEIVED_NS, d->received_ns);
        le32_put(p + DEAD_TEXT_LEN, (uint32_t)d->text.len);
        le32_put(p + DEAD_RECORD_LEN, (uint32_t)d->record.len);
        p += DEAD_HEAD;
        memcpy(p, d->table.ptr, d->table.len);
        if (d->text.len > 0)
            memcpy(p + d->table.len, d->text.ptr, d->text.len);
        if (d->record.len > 0)
            memcpy(p + d->table.len + d->text.len, d->record.ptr, d->record.len);
        rc = count_add(t, d->table, 1, (int64_t)bytes);
    }
    txn_fail(t, rc, "dead letter");
}

/* Delete the record under the cursor; the name is copied because the page may move. */
static int dead_drop(struct store_txn *t, MDB_cursor *c, MDB_val k, MDB_val v,
                     void (*dropped)(void *ctx, struct slice table), void *ctx)
{
    struct store_dead_letter d;
    char name[LIMIT_NAME_BYTES];
    if (!dead_parse(k, v, &d) || d.table.len > sizeof(name))
        return MDB_CORRUPTED;
    struct slice table = {name, d.table.len};
    int64_t bytes = (int64_t)(k.mv_size + v.mv_size);
    memcpy(name, d.table.ptr, d.table.len);
    int rc = mdb_cursor_del(c, 0);
    if (rc == 0)
        rc = count_add(t, table, -1, -bytes);
    if (rc == 0 && dropped != NULL)
        dropped(ctx, table);
    return rc;
}

uint64_t store_txn_dead_letter_trim(struct store_txn *t, uint64_t bytes_max,
                                    void (*dropped)(void *ctx, struct slice table), void *ctx)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_cursor *c;
    MDB_val k, v;
    uint64_t count = 0;
    if (t->err.code != 0 || t->meta.dlq_bytes <= bytes_max)
        return 0;
    int rc = mdb_cursor_open(t->txn, t->store->dead, &c);
    if (rc != 0) {
        txn_fail(t, rc, "trim");
        return 0;
    }
    while (t->meta.dlq_bytes > bytes_max) {
        rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
        if (rc == 0)
            rc = dead_drop(t, c, k, v, dropped, ctx);
        if (rc != 0)
            break;
        count++;
    }
    mdb_cursor_close(c);
    if (rc == MDB_NOTFOUND)
        t->meta.dlq_bytes = 0;
    else
        txn_fail(t, rc, "trim");
    return count;
}

int store_txn_commit(struct store_txn *t, struct err *e)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code == 0)
        txn_fail(t, meta_put(t->store, t->txn, &t->meta), "meta");
    if (t->err.code != 0) {
        int code = t->err.code;
        if (e != NULL)
            *e = t->err;
        store_txn_abort(t);
        return code;
    }
    int rc = mdb_txn_commit(t->txn);
    t->magic = 0;
    free(t);
    return rc == 0 ? 0 : store_err(e, rc, "commit");
}

void store_txn_abort(struct store_txn *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    mdb_txn_abort(t->txn);
    t->magic = 0;
    free(t);
}
