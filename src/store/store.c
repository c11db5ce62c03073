/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_priv.h"

#include "base/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STORE_MAP_BYTES_DEFAULT (32 * GIB)
#define STORE_BLOB_BYTES_MAX    (64 * MIB)

/* Value of meta "flush", then the log id. */
enum {
    META_VERSION = 0,
    META_EPOCH = 4,
    META_APPLIED = 8,
    META_LOW = 16,
    META_DLQ_BYTES = 24,
    META_HEAD = 32
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

int store_err(struct err *e, int rc, const char *what)
{
    const char *hint = "";
    if (store_code(rc) == WH_ECORRUPT)
        hint =
            "; move the store folder away to start with an empty one (positions are rebuilt from "
            "the log, dead letters and held rows older than the log are lost)";
    else if (rc == MDB_MAP_FULL)
        hint = "; the store reached its largest size, lower dlq.max_bytes or ingest.held_max_bytes";
    return err_set(e, store_code(rc), "store: %s: %s%s", what, mdb_strerror(rc), hint);
}

MDB_val store_table_key(struct slice table, char key[STORE_KEY_CAP])
{
    size_t kept = table.len < STORE_NAME_KEPT ? table.len : STORE_NAME_KEPT;
    le16_put(key, (uint16_t)table.len);
    if (kept > 0)
        memcpy(key + 2, table.ptr, kept);
    if (kept == table.len)
        return store_val(key, 2 + kept);
    le32_put(key + 2 + kept, crc32c(0, table.ptr, table.len));
    return store_val(key, 2 + kept + 4);
}

/* ---- open and close ---- */

static int store_open_dbs(struct store *s)
{
    struct store_shelf_dbs *dead = &s->shelves[STORE_DEAD], *held = &s->shelves[STORE_HELD];
    const struct {
        const char *name;
        MDB_dbi *dbi;
    } dbs[] = {
        {"blobs", &s->blobs},
        {"meta", &s->meta},
        {"positions", &s->positions},
        {"jobs", &s->jobs},
        {"control", &s->control},
        {"dead", &dead->letters},
        {"dead_table", &dead->by_table},
        {"dead_count", &dead->counts},
        {"held", &held->letters},
        {"held_table", &held->by_table},
        {"held_count", &held->counts},
    };
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof(dbs) / sizeof(dbs[0]) && rc == 0; i++)
        rc = mdb_dbi_open(txn, dbs[i].name, MDB_CREATE, dbs[i].dbi);
    if (rc == 0)
        rc = store_letters_migrate(txn, dead);
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
        rc = mdb_env_set_maxdbs(s->env, 16);
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
    MDB_val k = store_val(name, len);
    if (value != NULL) {
        MDB_val v = store_val(value->ptr, value->len);
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
    MDB_val k = store_val(name, strlen(name)), v;
    rc = mdb_get(txn, s->blobs, &k, &v);
    if (rc == 0)
        buf_put_slice(out, store_slice(v));
    mdb_txn_abort(txn);
    if (rc != 0)
        return store_err(e, rc, name);
    return buf_ok(out) ? 0 : err_set(e, -ENOMEM, "store: out of memory for %s", name);
}

/* ---- the flusher's state ---- */

static int meta_get(struct store *s, MDB_txn *txn, struct store_meta *m)
{
    MDB_val k = store_val("flush", 5), v;
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
    MDB_val k = store_val("flush", 5), v = store_val(p, META_HEAD + m->log_id_len);
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
        struct slice p = store_slice(v);
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

int store_position(struct store *s, struct slice table, uint64_t *index, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    char key[STORE_KEY_CAP];
    MDB_txn *txn;
    *index = 0;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "position");
    MDB_val k = store_table_key(table, key), v;
    rc = mdb_get(txn, s->positions, &k, &v);
    if (rc == 0 && v.mv_size >= 8)
        *index = le64_get(v.mv_data);
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(e, rc, "position");
}

int store_epoch(struct store *s, uint32_t *epoch, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    struct store_meta m;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "epoch");
    rc = meta_get(s, txn, &m);
    *epoch = m.epoch;
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(e, rc, "epoch");
}

/* ---- write transaction ---- */

void store_txn_fail(struct store_txn *t, int rc, const char *what)
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
        store_txn_fail(t, rc, "meta");
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
        store_txn_fail(t, mdb_drop(t->txn, t->store->positions, 0), "reset");
}

void store_txn_position(struct store_txn *t, struct slice table, uint64_t index)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code != 0)
        return;
    char key[STORE_KEY_CAP], value[8];
    MDB_val k = store_table_key(table, key), v = {.mv_size = sizeof(value) + table.len};
    le64_put(value, index);
    int rc = mdb_put(t->txn, t->store->positions, &k, &v, MDB_RESERVE);
    if (rc == 0) {
        memcpy(v.mv_data, value, sizeof(value));
        memcpy((char *)v.mv_data + sizeof(value), table.ptr, table.len);
    }
    store_txn_fail(t, rc, "position");
}

void store_txn_applied(struct store_txn *t, uint64_t applied_index, uint64_t low_index)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    t->meta.applied_index = applied_index;
    t->meta.low_index = low_index;
}

void store_txn_spoil(struct store_txn *t, int code, const char *why)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code == 0)
        (void)err_set(&t->err, code, "store: %s", why);
}

uint32_t store_txn_epoch(const struct store_txn *t)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    return t->meta.epoch;
}

int store_txn_commit(struct store_txn *t, struct err *e)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code == 0)
        store_txn_fail(t, meta_put(t->store, t->txn, &t->meta), "meta");
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
