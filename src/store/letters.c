/* SPDX-License-Identifier: Apache-2.0 */
/* Letters on their shelves, and jobs. A letter is in three places, changed together: under its id,
 * in its table's index, and in its table's count. */
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Value of a letter, then table, text, record; since version 2 also sender before the record. */
enum {
    LETTER_VERSION = 0,
    LETTER_TABLE_LEN = 2,
    LETTER_CODE = 4,
    LETTER_FAILED_NS = 8,
    LETTER_RECEIVED_NS = 16,
    LETTER_TEXT_LEN = 24,
    LETTER_RECORD_LEN = 28,
    LETTER_HEAD_1 = 32,
    LETTER_SENDER_LEN = 32, /* six zero bytes follow */
    LETTER_HEAD = 40
};
#define LETTER_VERSION_NOW 2

/* Key of a letter: big-endian, so that key order is age. */
enum {
    KEY_EPOCH = 0,
    KEY_INDEX = 4,
    KEY_ORDINAL = 12,
    KEY_LEN = 16
};

#define TABLE_KEY_CAP (STORE_KEY_CAP + KEY_LEN)

/* ---- ids ---- */

void store_letter_id_print(char out[STORE_LETTER_ID_CAP], struct store_letter_id id)
{
    (void)snprintf(out, STORE_LETTER_ID_CAP, "%" PRIu32 "-%" PRIu64 "-%" PRIu32, id.epoch, id.index,
                   id.ordinal);
}

/* A decimal number without sign and leading zeros, up to max; false when there is none. */
static bool number_take(struct slice *at, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < at->len && at->ptr[n] >= '0' && at->ptr[n] <= '9'; n++) {
        uint64_t digit = (uint64_t)(at->ptr[n] - '0');
        if (v > (max - digit) / 10 || (n > 0 && at->ptr[0] == '0'))
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    at->ptr += n;
    at->len -= n;
    return n > 0;
}

static bool dash_take(struct slice *at)
{
    if (at->len == 0 || at->ptr[0] != '-')
        return false;
    at->ptr++;
    at->len--;
    return true;
}

bool store_letter_id_parse(struct slice text, struct store_letter_id *id)
{
    uint64_t epoch, index, ordinal;
    if (!number_take(&text, UINT32_MAX, &epoch) || !dash_take(&text) ||
        !number_take(&text, UINT64_MAX, &index) || !dash_take(&text) ||
        !number_take(&text, UINT32_MAX, &ordinal) || text.len > 0)
        return false;
    *id = (struct store_letter_id){.epoch = (uint32_t)epoch,
                                   .index = index,
                                   .ordinal = (uint32_t)ordinal};
    return true;
}

int store_letter_id_cmp(struct store_letter_id a, struct store_letter_id b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    if (a.index != b.index)
        return a.index < b.index ? -1 : 1;
    return a.ordinal < b.ordinal ? -1 : a.ordinal > b.ordinal;
}

/* ---- keys and values ---- */

static MDB_val id_key(struct store_letter_id id, char key[KEY_LEN])
{
    be32_put(key + KEY_EPOCH, id.epoch);
    be64_put(key + KEY_INDEX, id.index);
    be32_put(key + KEY_ORDINAL, id.ordinal);
    return store_val(key, KEY_LEN);
}

static struct store_letter_id id_of(const char *key)
{
    return (struct store_letter_id){.epoch = be32_get(key + KEY_EPOCH),
                                    .index = be64_get(key + KEY_INDEX),
                                    .ordinal = be32_get(key + KEY_ORDINAL)};
}

static MDB_val index_key(struct slice table, struct store_letter_id id, char key[TABLE_KEY_CAP])
{
    size_t n = store_table_key(table, key).mv_size;
    (void)id_key(id, key + n);
    return store_val(key, n + KEY_LEN);
}

static bool letter_parse(MDB_val key, MDB_val value, struct store_letter *l)
{
    const char *p = value.mv_data;
    memset(l, 0, sizeof(*l));
    if (key.mv_size != KEY_LEN || value.mv_size < LETTER_HEAD_1)
        return false;
    size_t head = LETTER_HEAD_1;
    if (p[LETTER_VERSION] == LETTER_VERSION_NOW && value.mv_size >= LETTER_HEAD) {
        l->sender.len = le16_get(p + LETTER_SENDER_LEN);
        head = LETTER_HEAD;
    } else if (p[LETTER_VERSION] != 1) {
        return false;
    }
    l->id = id_of(key.mv_data);
    l->code = (int32_t)le32_get(p + LETTER_CODE);
    l->failed_at_ns = le64_get(p + LETTER_FAILED_NS);
    l->received_ns = le64_get(p + LETTER_RECEIVED_NS);
    l->table = (struct slice){p + head, le16_get(p + LETTER_TABLE_LEN)};
    l->text = (struct slice){l->table.ptr + l->table.len, le32_get(p + LETTER_TEXT_LEN)};
    l->sender.ptr = l->text.ptr + l->text.len;
    l->record = (struct slice){l->sender.ptr + l->sender.len, le32_get(p + LETTER_RECORD_LEN)};
    return value.mv_size == head + l->table.len + l->text.len + l->sender.len + l->record.len &&
           l->table.len > 0 && l->table.len <= LIMIT_NAME_BYTES;
}

static size_t put_bytes(char *p, struct slice s)
{
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    return s.len;
}

static size_t letter_size(const struct store_letter *l)
{
    return LETTER_HEAD + l->table.len + l->text.len + l->sender.len + l->record.len;
}

static void letter_write(char *p, const struct store_letter *l)
{
    memset(p, 0, LETTER_HEAD);
    p[LETTER_VERSION] = LETTER_VERSION_NOW;
    le16_put(p + LETTER_TABLE_LEN, (uint16_t)l->table.len);
    le32_put(p + LETTER_CODE, (uint32_t)l->code);
    le64_put(p + LETTER_FAILED_NS, l->failed_at_ns);
    le64_put(p + LETTER_RECEIVED_NS, l->received_ns);
    le32_put(p + LETTER_TEXT_LEN, (uint32_t)l->text.len);
    le32_put(p + LETTER_RECORD_LEN, (uint32_t)l->record.len);
    le16_put(p + LETTER_SENDER_LEN, (uint16_t)l->sender.len);
    p += LETTER_HEAD;
    p += put_bytes(p, l->table);
    p += put_bytes(p, l->text);
    p += put_bytes(p, l->sender);
    (void)put_bytes(p, l->record);
}

int store_letters_migrate(MDB_txn *txn, const struct store_shelf_dbs *dbs)
{
    MDB_stat letters, index;
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_stat(txn, dbs->letters, &letters);
    if (rc == 0)
        rc = mdb_stat(txn, dbs->by_table, &index);
    if (rc != 0 || letters.ms_entries == index.ms_entries)
        return rc;
    rc = mdb_cursor_open(txn, dbs->letters, &c);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        char key[TABLE_KEY_CAP];
        struct store_letter l;
        MDB_val ik, none = {0};
        if (!letter_parse(k, v, &l)) {
            rc = MDB_CORRUPTED;
            break;
        }
        ik = index_key(l.table, l.id, key);
        if ((rc = mdb_put(txn, dbs->by_table, &ik, &none, 0)) != 0)
            break;
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- reading ---- */

/* A read transaction and a cursor over dbi. */
static int read_begin(struct store *s, MDB_dbi dbi, MDB_txn **txn, MDB_cursor **c)
{
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(*txn, dbi, c);
    if (rc != 0)
        mdb_txn_abort(*txn);
    return rc;
}

static int read_end(MDB_txn *txn, MDB_cursor *c, int rc, struct err *e, const char *what)
{
    mdb_cursor_close(c);
    mdb_txn_abort(txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(e, rc, what);
}

/* The cursor on the first key behind `after`. */
static int seek_behind(MDB_cursor *c, MDB_val after, MDB_val *k, MDB_val *v)
{
    *k = after;
    int rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
    if (rc == 0 && slice_eq(store_slice(*k), store_slice(after)))
        rc = mdb_cursor_get(c, k, v, MDB_NEXT);
    return rc;
}

static int list_all(MDB_cursor *c, struct store_letter_id after,
                    bool (*each)(void *ctx, const struct store_letter *l), void *ctx)
{
    char key[KEY_LEN];
    MDB_val k, v;
    int rc = seek_behind(c, id_key(after, key), &k, &v);
    for (; rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        struct store_letter l;
        if (!letter_parse(k, v, &l))
            return MDB_CORRUPTED;
        if (!each(ctx, &l))
            break;
    }
    return rc;
}

static int list_table(struct store *s, enum store_shelf shelf, MDB_txn *txn, MDB_cursor *c,
                      struct slice table, struct store_letter_id after,
                      bool (*each)(void *ctx, const struct store_letter *l), void *ctx)
{
    char key[TABLE_KEY_CAP];
    MDB_val from = index_key(table, after, key), k, none, v;
    size_t prefix = from.mv_size - KEY_LEN;
    int rc = seek_behind(c, from, &k, &none);
    for (; rc == 0; rc = mdb_cursor_get(c, &k, &none, MDB_NEXT)) {
        if (k.mv_size != prefix + KEY_LEN || memcmp(k.mv_data, key, prefix) != 0)
            return 0;
        struct store_letter l;
        MDB_val id = store_val((const char *)k.mv_data + prefix, KEY_LEN);
        rc = mdb_get(txn, s->shelves[shelf].letters, &id, &v);
        if (rc != 0 || !letter_parse(id, v, &l))
            return MDB_CORRUPTED;
        /* Two names beyond STORE_NAME_KEPT may share a key. */
        if (slice_eq(l.table, table) && !each(ctx, &l))
            return 0;
    }
    return rc;
}

int store_letter_list(struct store *s, enum store_shelf shelf, struct slice table,
                      struct store_letter_id after,
                      bool (*each)(void *ctx, const struct store_letter *l), void *ctx,
                      struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    const struct store_shelf_dbs *dbs = &s->shelves[shelf];
    MDB_txn *txn;
    MDB_cursor *c;
    if (table.len > LIMIT_NAME_BYTES)
        return 0; /* no table has such a name */
    int rc = read_begin(s, table.len == 0 ? dbs->letters : dbs->by_table, &txn, &c);
    if (rc != 0)
        return store_err(e, rc, "letters");
    rc = table.len == 0 ? list_all(c, after, each, ctx)
                        : list_table(s, shelf, txn, c, table, after, each, ctx);
    return read_end(txn, c, rc, e, "letters");
}

int store_letter_get(struct store *s, enum store_shelf shelf, struct store_letter_id id,
                     void (*each)(void *ctx, const struct store_letter *l), void *ctx,
                     struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    char key[KEY_LEN];
    struct store_letter l;
    MDB_txn *txn;
    MDB_val k = id_key(id, key), v;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "letter");
    rc = mdb_get(txn, s->shelves[shelf].letters, &k, &v);
    if (rc == 0 && !letter_parse(k, v, &l))
        rc = MDB_CORRUPTED;
    if (rc == 0)
        each(ctx, &l);
    mdb_txn_abort(txn);
    return rc == 0 ? 0 : store_err(e, rc, "letter");
}

/* Value of a count: u64 records, u64 bytes, name. */
static int counts_walk(MDB_cursor *c,
                       void (*each)(void *ctx, struct slice table, uint64_t records,
                                    uint64_t bytes),
                       void *ctx)
{
    MDB_val k, v;
    int rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        struct slice count = store_slice(v);
        if (count.len < 16)
            return MDB_CORRUPTED;
        each(ctx, (struct slice){count.ptr + 16, count.len - 16}, le64_get(count.ptr),
             le64_get(count.ptr + 8));
    }
    return rc;
}

int store_letter_counts(struct store *s, enum store_shelf shelf,
                        void (*each)(void *ctx, struct slice table, uint64_t records,
                                     uint64_t bytes),
                        void *ctx, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    MDB_cursor *c;
    int rc = read_begin(s, s->shelves[shelf].counts, &txn, &c);
    if (rc != 0)
        return store_err(e, rc, "letter counts");
    return read_end(txn, c, counts_walk(c, each, ctx), e, "letter counts");
}

/* ---- writing ---- */

/* Add to a table's count; a count of zero goes away. */
static int count_add(struct store_txn *t, enum store_shelf shelf, struct slice table,
                     int64_t records, int64_t bytes)
{
    MDB_dbi dbi = t->store->shelves[shelf].counts;
    char key[STORE_KEY_CAP];
    uint64_t have_records = 0, have_bytes = 0;
    MDB_val k = store_table_key(table, key), v;
    int rc = mdb_get(t->txn, dbi, &k, &v);
    if (rc == 0 && v.mv_size >= 16) {
        have_records = le64_get(v.mv_data);
        have_bytes = le64_get((char *)v.mv_data + 8);
    } else if (rc != MDB_NOTFOUND) {
        return rc == 0 ? MDB_CORRUPTED : rc;
    }
    have_records += (uint64_t)records;
    have_bytes += (uint64_t)bytes;
    if (shelf == STORE_DEAD)
        t->meta.dlq_bytes += (uint64_t)bytes;
    if (have_records == 0)
        return mdb_del(t->txn, dbi, &k, NULL);
    v = (MDB_val){.mv_size = 16 + table.len};
    rc = mdb_put(t->txn, dbi, &k, &v, MDB_RESERVE);
    if (rc != 0)
        return rc;
    le64_put(v.mv_data, have_records);
    le64_put((char *)v.mv_data + 8, have_bytes);
    memcpy((char *)v.mv_data + 16, table.ptr, table.len);
    return 0;
}

static uint64_t bytes_of(size_t value_size)
{
    return KEY_LEN + value_size;
}

void store_txn_letter_put(struct store_txn *t, enum store_shelf shelf, const struct store_letter *l)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    const struct store_shelf_dbs *dbs = &t->store->shelves[shelf];
    char key[KEY_LEN], ikey[TABLE_KEY_CAP];
    if (t->err.code != 0)
        return;
    must(l->table.len > 0 && l->table.len <= LIMIT_NAME_BYTES && l->sender.len <= UINT16_MAX);
    MDB_val k = id_key(l->id, key), v = {.mv_size = letter_size(l)}, none = {0};
    int rc = mdb_put(t->txn, dbs->letters, &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST)
        return;
    if (rc == 0) {
        letter_write(v.mv_data, l);
        k = index_key(l->table, l->id, ikey);
        rc = mdb_put(t->txn, dbs->by_table, &k, &none, 0);
    }
    if (rc == 0)
        rc = count_add(t, shelf, l->table, 1, (int64_t)bytes_of(letter_size(l)));
    store_txn_fail(t, rc, "letter");
}

struct removed { /* what a removal needs after the letter is gone: pages move */
    char name[LIMIT_NAME_BYTES];
    size_t name_len;
    struct store_letter_id id;
    uint64_t bytes;
};

static void removed_of(struct removed *r, const struct store_letter *l, size_t value_size)
{
    memcpy(r->name, l->table.ptr, l->table.len);
    r->name_len = l->table.len;
    r->id = l->id;
    r->bytes = bytes_of(value_size);
}

/* Takes a letter out of the three places: shelf, table's index, count. c stands on it
 * in one of the first two; NULL: no cursor does. */
static int letter_take(struct store_txn *t, enum store_shelf shelf, MDB_cursor *c,
                       const struct removed *r)
{
    const struct store_shelf_dbs *dbs = &t->store->shelves[shelf];
    struct slice table = {r->name, r->name_len};
    char id[KEY_LEN], indexed[TABLE_KEY_CAP];
    MDB_val k = id_key(r->id, id), i = index_key(table, r->id, indexed);
    MDB_dbi at = c != NULL ? mdb_cursor_dbi(c) : 0;
    int rc = c != NULL && at == dbs->letters ? mdb_cursor_del(c, 0)
                                             : mdb_del(t->txn, dbs->letters, &k, NULL);
    if (rc == 0)
        rc = c != NULL && at == dbs->by_table ? mdb_cursor_del(c, 0)
                                              : mdb_del(t->txn, dbs->by_table, &i, NULL);
    return rc == 0 ? count_add(t, shelf, table, -1, -(int64_t)r->bytes) : rc;
}

/* Returns whether it was there. */
static bool remove_one(struct store_txn *t, enum store_shelf shelf, struct store_letter_id id,
                       struct removed *r)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_dbi dbi = t->store->shelves[shelf].letters;
    char key[KEY_LEN];
    struct store_letter l;
    if (t->err.code != 0)
        return false;
    MDB_val k = id_key(id, key), v;
    int rc = mdb_get(t->txn, dbi, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    if (rc == 0 && !letter_parse(k, v, &l))
        rc = MDB_CORRUPTED;
    if (rc == 0) {
        removed_of(r, &l, v.mv_size);
        rc = letter_take(t, shelf, NULL, r);
    }
    store_txn_fail(t, rc, "removing a letter");
    return rc == 0;
}

uint64_t store_txn_letter_remove(struct store_txn *t, enum store_shelf shelf,
                                 struct store_letter_id id)
{
    struct removed r;
    return remove_one(t, shelf, id, &r) ? r.bytes : 0;
}

void store_txn_letter_remove_told(struct store_txn *t, enum store_shelf shelf,
                                  struct store_letter_id id, store_removed_fn *removed, void *ctx)
{
    struct removed r;
    if (remove_one(t, shelf, id, &r))
        removed(ctx, (struct slice){r.name, r.name_len}, 1, r.bytes);
}

bool store_txn_letter_replace(struct store_txn *t, enum store_shelf shelf,
                              struct store_letter_id id, struct slice record)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_dbi dbi = t->store->shelves[shelf].letters;
    char key[KEY_LEN], *copy = NULL;
    struct store_letter l;
    if (t->err.code != 0)
        return false;
    MDB_val k = id_key(id, key), v;
    int rc = mdb_get(t->txn, dbi, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    int64_t before = (int64_t)v.mv_size;
    /* The page under v moves with the put. */
    if (rc == 0 && (copy = malloc(v.mv_size)) == NULL)
        rc = ENOMEM;
    if (rc == 0) {
        memcpy(copy, v.mv_data, v.mv_size);
        if (!letter_parse(k, store_val(copy, v.mv_size), &l))
            rc = MDB_CORRUPTED;
    }
    if (rc == 0) {
        l.record = record;
        v = (MDB_val){.mv_size = letter_size(&l)};
        rc = mdb_put(t->txn, dbi, &k, &v, MDB_RESERVE);
    }
    if (rc == 0) {
        letter_write(v.mv_data, &l);
        rc = count_add(t, shelf, l.table, 0, (int64_t)v.mv_size - before);
    }
    free(copy);
    store_txn_fail(t, rc, "changing a letter");
    return rc == 0;
}

/* ---- many at once ---- */

static int purge_all(struct store_txn *t, enum store_shelf shelf, store_removed_fn *removed,
                     void *ctx)
{
    const struct store_shelf_dbs *dbs = &t->store->shelves[shelf];
    MDB_cursor *c;
    int rc = mdb_cursor_open(t->txn, dbs->counts, &c);
    if (rc != 0)
        return rc;
    if (removed != NULL)
        rc = counts_walk(c, removed, ctx);
    mdb_cursor_close(c);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if ((rc = mdb_drop(t->txn, dbs->letters, 0)) != 0 ||
        (rc = mdb_drop(t->txn, dbs->by_table, 0)) != 0 ||
        (rc = mdb_drop(t->txn, dbs->counts, 0)) != 0)
        return rc;
    if (shelf == STORE_DEAD)
        t->meta.dlq_bytes = 0;
    return 0;
}

struct purge {
    struct store_txn *t;
    enum store_shelf shelf;
    struct slice table;
    uint64_t before_ns;
    MDB_cursor *c; /* over the letters of every table, or over the index of one */
    char key[TABLE_KEY_CAP];
    size_t prefix; /* bytes of the table's key; 0: every table */
};

/* The letter at the cursor; MDB_NOTFOUND behind the last one of the table. */
static int purge_look(struct purge *p, MDB_val k, MDB_val v, struct store_letter *l, size_t *size)
{
    if (p->prefix > 0) {
        if (k.mv_size != p->prefix + KEY_LEN || memcmp(k.mv_data, p->key, p->prefix) != 0)
            return MDB_NOTFOUND;
        k = store_val((const char *)k.mv_data + p->prefix, KEY_LEN);
        int rc = mdb_get(p->t->txn, p->t->store->shelves[p->shelf].letters, &k, &v);
        if (rc != 0)
            return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
    }
    *size = v.mv_size;
    return letter_parse(k, v, l) ? 0 : MDB_CORRUPTED;
}

static int purge_some(struct purge *p, store_removed_fn *removed, void *ctx)
{
    MDB_val k = {0}, v;
    MDB_cursor_op op = MDB_FIRST;
    struct removed r;
    if (p->table.len > 0) {
        struct store_letter_id oldest = {0};
        k = index_key(p->table, oldest, p->key);
        p->prefix = k.mv_size - KEY_LEN;
        op = MDB_SET_RANGE;
    }
    int rc;
    for (; (rc = mdb_cursor_get(p->c, &k, &v, op)) == 0; op = MDB_NEXT) {
        struct store_letter l;
        size_t size;
        if ((rc = purge_look(p, k, v, &l, &size)) != 0)
            return rc;
        if ((p->before_ns != 0 && l.failed_at_ns >= p->before_ns) ||
            (p->table.len > 0 && !slice_eq(p->table, l.table)))
            continue;
        removed_of(&r, &l, size);
        if ((rc = letter_take(p->t, p->shelf, p->c, &r)) != 0)
            return rc;
        if (removed != NULL)
            removed(ctx, (struct slice){r.name, r.name_len}, 1, r.bytes);
    }
    return rc;
}

void store_txn_letter_purge(struct store_txn *t, enum store_shelf shelf, struct slice table,
                            uint64_t before_ns, store_removed_fn *removed, void *ctx)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    const struct store_shelf_dbs *dbs = &t->store->shelves[shelf];
    if (t->err.code != 0 || table.len > LIMIT_NAME_BYTES)
        return;
    if (table.len == 0 && before_ns == 0) {
        store_txn_fail(t, purge_all(t, shelf, removed, ctx), "purge");
        return;
    }
    struct purge p = {.t = t, .shelf = shelf, .table = table, .before_ns = before_ns};
    int rc = mdb_cursor_open(t->txn, table.len > 0 ? dbs->by_table : dbs->letters, &p.c);
    if (rc == 0) {
        rc = purge_some(&p, removed, ctx);
        mdb_cursor_close(p.c);
    }
    store_txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc, "purge");
}

uint64_t store_txn_letter_trim(struct store_txn *t, uint64_t bytes_max)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_cursor *c;
    MDB_val k, v;
    uint64_t count = 0;
    if (t->err.code != 0 || t->meta.dlq_bytes <= bytes_max)
        return 0;
    int rc = mdb_cursor_open(t->txn, t->store->shelves[STORE_DEAD].letters, &c);
    if (rc != 0) {
        store_txn_fail(t, rc, "trim");
        return 0;
    }
    while (t->meta.dlq_bytes > bytes_max) {
        struct store_letter l;
        struct removed r;
        rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
        if (rc == 0 && !letter_parse(k, v, &l))
            rc = MDB_CORRUPTED;
        if (rc == 0) {
            removed_of(&r, &l, v.mv_size);
            rc = letter_take(t, STORE_DEAD, c, &r);
        }
        if (rc != 0)
            break;
        count++;
    }
    mdb_cursor_close(c);
    if (rc == MDB_NOTFOUND)
        t->meta.dlq_bytes = 0;
    else
        store_txn_fail(t, rc, "trim");
    return count;
}

/* ---- jobs ---- */

static int jobs_walk(MDB_cursor *c, bool (*each)(void *ctx, uint64_t job, struct slice value),
                     void *ctx)
{
    MDB_val k, v;
    int rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0 && k.mv_size == 8 &&
           each(ctx, be64_get(k.mv_data), store_slice(v))) {
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_job_each(struct store *s, bool (*each)(void *ctx, uint64_t job, struct slice value),
                   void *ctx, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    MDB_cursor *c;
    int rc = read_begin(s, s->jobs, &txn, &c);
    if (rc != 0)
        return store_err(e, rc, "jobs");
    return read_end(txn, c, jobs_walk(c, each, ctx), e, "jobs");
}

void store_txn_job_each(struct store_txn *t,
                        bool (*each)(void *ctx, uint64_t job, struct slice value), void *ctx)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_cursor *c;
    if (t->err.code != 0)
        return;
    int rc = mdb_cursor_open(t->txn, t->store->jobs, &c);
    if (rc == 0) {
        rc = jobs_walk(c, each, ctx);
        mdb_cursor_close(c);
    }
    store_txn_fail(t, rc, "jobs");
}

void store_txn_job_put(struct store_txn *t, uint64_t job, struct slice value)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    char key[8];
    be64_put(key, job);
    MDB_val k = store_val(key, sizeof(key)), v = store_val(value.ptr, value.len);
    if (t->err.code == 0)
        store_txn_fail(t, mdb_put(t->txn, t->store->jobs, &k, &v, 0), "job");
}

bool store_txn_job_get(struct store_txn *t, uint64_t job, struct slice *value)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    char key[8];
    be64_put(key, job);
    MDB_val k = store_val(key, sizeof(key)), v;
    if (t->err.code != 0)
        return false;
    int rc = mdb_get(t->txn, t->store->jobs, &k, &v);
    if (rc == 0)
        *value = store_slice(v);
    else if (rc != MDB_NOTFOUND)
        store_txn_fail(t, rc, "job");
    return rc == 0;
}

void store_txn_job_delete(struct store_txn *t, uint64_t job)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    char key[8];
    be64_put(key, job);
    MDB_val k = store_val(key, sizeof(key));
    if (t->err.code != 0)
        return;
    int rc = mdb_del(t->txn, t->store->jobs, &k, NULL);
    store_txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc, "job");
}
