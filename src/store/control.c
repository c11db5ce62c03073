/* SPDX-License-Identifier: Apache-2.0 */
/* Control documents: see store.h. */
#include "store/store_priv.h"

static int each_in(const struct store *s, MDB_txn *txn, store_control_fn *each, void *ctx)
{
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, s->control, &c);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0)
        if (!each(ctx, store_slice(k), store_slice(v)))
            break;
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_control_each(struct store *s, store_control_fn *each, void *ctx, struct err *e)
{
    CHECK_MAGIC(s, STORE_MAGIC);
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return store_err(e, rc, "control");
    rc = each_in(s, txn, each, ctx);
    mdb_txn_abort(txn);
    return rc == 0 ? 0 : store_err(e, rc, "control");
}

void store_txn_control_each(struct store_txn *t, store_control_fn *each, void *ctx)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code == 0)
        store_txn_fail(t, each_in(t->store, t->txn, each, ctx), "control");
}

void store_txn_control_put(struct store_txn *t, struct slice key, struct slice value)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    must(key.len > 0 && key.len <= STORE_NAME_KEPT);
    MDB_val k = store_val(key.ptr, key.len), v = store_val(value.ptr, value.len);
    if (t->err.code == 0)
        store_txn_fail(t, mdb_put(t->txn, t->store->control, &k, &v, 0), "control");
}

bool store_txn_control_get(struct store_txn *t, struct slice key, struct slice *value)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    if (t->err.code != 0)
        return false;
    MDB_val k = store_val(key.ptr, key.len), v;
    int rc = mdb_get(t->txn, t->store->control, &k, &v);
    if (rc == 0)
        *value = store_slice(v);
    else if (rc != MDB_NOTFOUND)
        store_txn_fail(t, rc, "control");
    return rc == 0;
}

void store_txn_control_delete(struct store_txn *t, struct slice key)
{
    CHECK_MAGIC(t, STORE_TXN_MAGIC);
    MDB_val k = store_val(key.ptr, key.len);
    if (t->err.code != 0)
        return;
    int rc = mdb_del(t->txn, t->store->control, &k, NULL);
    if (rc != MDB_NOTFOUND)
        store_txn_fail(t, rc, "control");
}
