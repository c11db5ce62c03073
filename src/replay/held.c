/* SPDX-License-Identifier: Apache-2.0 */
/* Held rows: looked at table by table, oldest first, with the schema of today. A row whose columns
 * are all there now enters; one that still lacks some stays, and its columns are the table's drift.
 * When the end is reached, further rows go on from there; when the table's columns change, all of
 * them are looked at again. So rows enter in the order in which they were accepted.
 *
 * A row's place on the shelf is that of its acceptance, and a row whose column went away after it
 * was accepted comes to the shelf late: behind rows that were looked at already. So at the end the
 * rows that were left there are compared with those that are there; if they differ, all are looked
 * at again.
 *
 * A row that fits no more for another reason (a type changed) enters as well: what cannot be stored
 * becomes a dead letter, with ClickHouse's reason. */
#include "replay/priv.h"

#include "base/log.h"
#include "base/metric.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TABLES_EVERY_NS UINT64_C(1000000000)

static struct replay_held *held_find(struct replay *r, struct slice table)
{
    for (struct replay_held *h = r->held; h != NULL; h = h->next)
        if (slice_eq(table, (struct slice){h->table, h->table_len}))
            return h;
    return NULL;
}

/* A table has held rows: make its state. */
static void held_add(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct replay *r = ctx;
    (void)bytes;
    r->held_rows += records;
    struct replay_held *h = held_find(r, table);
    if (h != NULL) {
        h->there = records;
        return;
    }
    h = calloc(1, sizeof(*h));
    char *name = slice_dup(table);
    if (h == NULL || name == NULL) { /* comes again with the next look */
        free(h);
        free(name);
        return;
    }
    h->table = name;
    h->table_len = table.len;
    h->there = records;
    (void)pthread_mutex_lock(&r->lock);
    h->next = r->held;
    r->held = h;
    (void)pthread_mutex_unlock(&r->lock);
}

void replay_held_free(struct replay *r)
{
    while (r->held != NULL) {
        struct replay_held *h = r->held;
        r->held = h->next;
        replay_drift_fini(h);
        free(h->table);
        free(h);
    }
}

static void held_restart(struct replay *r, struct replay_held *h)
{
    static const struct store_letter_id zero;
    h->at = zero;
    h->kept = 0;
    (void)pthread_mutex_lock(&r->lock);
    h->scanned = false;
    replay_drift_zero(h);
    (void)pthread_mutex_unlock(&r->lock);
}

void replay_held_again(struct replay *r)
{
    for (struct replay_held *h = r->held; h != NULL; h = h->next)
        held_restart(r, h);
    r->held_due_ns = 0;
}

/* The record's keys that are no columns, for the drift; its text was just read by the reader. */
static void note(struct replay *r, struct replay_held *h, const struct schema_table *t,
                 const struct store_letter *l)
{
    struct json_doc doc;
    if (json_reader_begin(r->reader, l->record.ptr, l->record.len, JSON_ONE) != 0 ||
        json_reader_next(r->reader, &doc) != 0 || doc.nodes[0].kind != JSON_OBJECT)
        return;
    (void)pthread_mutex_lock(&r->lock);
    replay_drift_note(h, t, &doc, l->received_ns);
    (void)pthread_mutex_unlock(&r->lock);
}

/* One row: into the batch, or into the drift. */
static int held_row(struct replay *r, struct replay_held *h, const struct schema_catalog *catalog,
                    const struct schema_table *t, const struct store_letter *l)
{
    struct record_result result;
    size_t off;
    int rc = replay_batch_record(r, catalog, t, l->record, false, l->received_ns, &off, &result);
    if (rc > 0 && result.unknown_column) {
        note(r, h, t, l);
        return 0;
    }
    if (rc > 0)
        rc = replay_batch_record(r, NULL, NULL, l->record, false, l->received_ns, &off, &result);
    if (rc == 0)
        replay_batch_letter(r, STORE_HELD, l->id);
    return rc;
}

/* A row held when it came has not been streamed; one whose column was dropped afterwards has. */
static bool was_streamed(const struct store_letter *l)
{
    return l->code != 0;
}

static enum replay_step held_page(struct replay *r, struct replay_held *h,
                                  const struct schema_catalog *catalog,
                                  const struct schema_table *t)
{
    struct slice table = {h->table, h->table_len};
    struct err e = {0};
    uint64_t index = 0;
    int rc = replay_page_read(r, STORE_HELD, table, h->at, REPLAY_BATCH_ROWS, &e);
    if (rc != 0)
        return STEP_WAIT;
    if (r->page.count == 0 && h->there != h->kept) {
        held_restart(r, h); /* with the next look: the count may be of a moment ago */
        return STEP_DONE;
    }
    if (r->page.count == 0) {
        (void)pthread_mutex_lock(&r->lock);
        h->scanned = true;
        (void)pthread_mutex_unlock(&r->lock);
        return STEP_DONE;
    }
    uint32_t n = 0;
    bool streamed = was_streamed(&r->page.letters[0]);
    replay_batch_reset(&r->batch);
    while (n < r->page.count && was_streamed(&r->page.letters[n]) == streamed && rc == 0)
        rc = held_row(r, h, catalog, t, &r->page.letters[n++]);
    uint32_t rows = r->batch.wal.count;
    if (rc == 0)
        rc = replay_batch_commit(r, table, SLICE_LIT("held"), streamed ? WAL_BATCH_QUIET : 0,
                                 &index);
    if (rc != 0) {
        held_restart(r, h); /* the drift of this page would count twice */
        return STEP_WAIT;
    }
    h->at = r->page.letters[n - 1].id;
    h->kept += n - rows;
    if (index != 0) {
        metric_add(r->rows[1], rows);
        log_info("replay.released", "table=%s rows=%u index=%" PRIu64, h->table, rows, index);
    }
    return STEP_MORE;
}

static enum replay_step held_table(struct replay *r, struct replay_held *h,
                                   const struct schema_catalog *catalog)
{
    struct slice table = {h->table, h->table_len};
    const struct schema_table *t = schema_catalog_find(catalog, table);
    uint64_t fingerprint = t != NULL ? t->fingerprint : 0;
    if (fingerprint != h->fingerprint) {
        h->fingerprint = fingerprint;
        held_restart(r, h);
    }
    if (t == NULL) { /* dropped: they wait for the table itself */
        (void)pthread_mutex_lock(&r->lock);
        h->scanned = true;
        (void)pthread_mutex_unlock(&r->lock);
        return STEP_DONE;
    }
    if (replay_blocked(r, table) != NULL || !replay_settled(r))
        return STEP_WAIT;
    return held_page(r, h, catalog, t);
}

/* One page of each table that has held rows. STEP_DONE: all were looked at. */
enum replay_step replay_held_step(struct replay *r, uint64_t now, uint64_t *next_ns)
{
    struct err e = {0};
    if (now < r->held_due_ns) {
        *next_ns = r->held_due_ns < *next_ns ? r->held_due_ns : *next_ns;
        return STEP_DONE;
    }
    if (!replay_settled(r))
        return STEP_WAIT;
    r->held_rows = 0;
    for (struct replay_held *h = r->held; h != NULL; h = h->next)
        h->there = 0;
    if (store_letter_counts(r->options.store, STORE_HELD, held_add, r, &e) != 0 ||
        r->held == NULL) {
        r->held_due_ns = now + TABLES_EVERY_NS;
        return STEP_DONE;
    }
    /* Whoever adds a column expects to see it work, whatever the refresh interval is. */
    if (r->held_rows > 0 && now >= r->refresh_due_ns) {
        r->refresh_due_ns = now + REPLAY_REFRESH_MS * UINT64_C(1000000);
        r->options.request_refresh(r->options.ctx);
    }
    struct schema_catalog *catalog = r->options.catalog(r->options.ctx);
    enum replay_step all = STEP_DONE;
    for (struct replay_held *h = r->held; h != NULL && catalog != NULL; h = h->next) {
        enum replay_step step = held_table(r, h, catalog);
        if (step == STEP_MORE || (step == STEP_WAIT && all == STEP_DONE))
            all = step;
    }
    schema_catalog_unref(catalog);
    if (all == STEP_MORE)
        r->held_due_ns = 0;
    else
        r->held_due_ns = now + TABLES_EVERY_NS;
    return all;
}
