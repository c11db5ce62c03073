/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of rows that enter again, and the task that takes them from a shelf. */
#include "replay/priv.h"

#include "base/magic.h"
#include "base/metric.h"
#include "io/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_SLACK_BYTES 1024 /* what canonical form may add to a record */
#define CODE_UNKNOWN_FIELD 117
#define CODE_UNKNOWN_TABLE 60

/* ---- batches ---- */

void replay_batch_init(struct replay_batch *b)
{
    wal_batch_init(&b->wal);
    buf_init(&b->origin, LIMIT_WAL_PAYLOAD_BYTES);
    b->letters = 0;
}

void replay_batch_fini(struct replay_batch *b)
{
    wal_batch_fini(&b->wal);
    buf_fini(&b->origin);
}

void replay_batch_reset(struct replay_batch *b)
{
    wal_batch_reset(&b->wal);
    buf_reset(&b->origin);
    b->letters = 0;
}

bool replay_batch_full(const struct replay_batch *b, size_t record_bytes)
{
    return b->wal.count >= REPLAY_BATCH_ROWS ||
           (b->wal.count > 0 &&
            b->wal.text.len + b->wal.items.len + b->origin.len + record_bytes + RECORD_SLACK_BYTES >
                LIMIT_WAL_ENTRY_BYTES);
}

void replay_batch_letter(struct replay *r, enum store_shelf shelf, struct store_letter_id id)
{
    struct replay_batch *b = &r->batch;
    if (b->letters == 0)
        flush_origin_begin(&b->origin, shelf);
    if (id.epoch == r->epoch)
        id.epoch = FLUSH_EPOCH_THIS;
    flush_origin_add(&b->origin, id);
    b->letters++;
}

/* The record as its table takes it, at the end of the batch's text; not yet one of its items. 0; 1:
 * refused, as *result says; negative: an error. */
static int check_record(struct replay *r, const struct schema_catalog *catalog,
                        const struct schema_table *t, struct slice text, bool ignore_unknown,
                        uint64_t received_ns, struct record_result *result)
{
    struct json_doc doc;
    struct record_options options = {.ignore_unknown = ignore_unknown,
                                     .stamp_received = r->options.stamp_received};
    int rc = json_reader_begin(r->reader, text.ptr, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(r->reader, &doc);
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT || rc == WH_EEND) {
        result->status = 400;
        (void)snprintf(result->message, sizeof(result->message), "invalid json");
        return 1;
    }
    if (rc == 0)
        rc = record_check(r->checker, t, schema_catalog_timezone(catalog), &options, &doc,
                          received_ns, &r->batch.wal.text, result);
    return rc > 0 ? 1 : rc;
}

int replay_batch_record(struct replay *r, const struct schema_catalog *catalog,
                        const struct schema_table *t, struct slice text, bool ignore_unknown,
                        uint64_t received_ns, size_t *text_off, struct record_result *result)
{
    struct buf *out = &r->batch.wal.text;
    int rc = 0;
    *text_off = out->len;
    memset(result, 0, offsetof(struct record_result, message) + 1);
    if (t == NULL)
        buf_put_slice(out, text);
    else
        rc = check_record(r, catalog, t, text, ignore_unknown, received_ns, result);
    if (rc != 0)
        return rc;
    return buf_ok(out) ? wal_batch_add(&r->batch.wal, received_ns, *text_off) : -ENOMEM;
}

int replay_batch_commit(struct replay *r, struct slice table, struct slice who, uint8_t flags,
                        uint64_t *index)
{
    struct replay_batch *b = &r->batch;
    struct iovec parts[WAL_BATCH_PARTS];
    *index = 0;
    if (b->wal.count == 0)
        return 0;
    if (b->letters > 0)
        flush_origin_end(&b->origin, b->letters);
    if (!buf_ok(&b->origin))
        return -ENOMEM;
    wal_batch_origin(&b->wal, buf_slice(&b->origin));
    b->wal.flags = flags;
    int rc = wal_batch_finish(&b->wal, table, who);
    if (rc != 0)
        return rc;
    rc = replay_commit(r, WAL_EVENTS, parts, wal_batch_parts(&b->wal, parts),
                       (flags & WAL_BATCH_QUIET) == 0 ? &b->wal : NULL, index);
    if (rc != 0)
        return rc;
    r->shelf_last = *index;
    replay_entered(r, table, *index, b->wal.count);
    return 0;
}

/* ---- pages ---- */

struct page_read {
    struct replay_page *page;
    size_t bytes_max;
};

static size_t put(struct buf *buf, struct slice s)
{
    size_t at = buf->len;
    buf_put_slice(buf, s);
    return at;
}

/* Places in the buffer stand in for pointers until it has stopped growing. */
static struct slice place(size_t at, size_t len)
{
    return (struct slice){(const char *)at, len}; /* NOLINT: an offset, made a pointer below */
}

static bool page_add(void *ctx, const struct store_letter *l)
{
    static const char padding[LIMIT_JSON_PADDING];
    struct page_read *read = ctx;
    struct replay_page *p = read->page;
    if (p->count == p->max || (p->count > 0 && p->buf.len + l->record.len > read->bytes_max)) {
        p->full = true;
        return false;
    }
    if (p->count == p->cap) {
        uint32_t cap = p->cap == 0 ? 256 : p->cap * 2;
        struct store_letter *letters = realloc(p->letters, cap * sizeof(*letters));
        if (letters == NULL) {
            p->buf.failed = true;
            return false;
        }
        p->letters = letters;
        p->cap = cap;
    }
    struct store_letter *mine = &p->letters[p->count++];
    *mine = *l;
    mine->table = place(put(&p->buf, l->table), l->table.len);
    mine->text = place(put(&p->buf, l->text), l->text.len);
    mine->sender = place(put(&p->buf, l->sender), l->sender.len);
    mine->record = place(put(&p->buf, l->record), l->record.len);
    buf_put(&p->buf, padding, sizeof(padding));
    return buf_ok(&p->buf);
}

static void page_begin(struct replay_page *p, uint32_t max)
{
    p->count = 0;
    p->max = max;
    p->full = false;
    buf_reset(&p->buf);
}

static int page_end(struct replay_page *p)
{
    if (!buf_ok(&p->buf))
        return -ENOMEM;
    for (uint32_t i = 0; i < p->count; i++) {
        struct slice *slices[] = {&p->letters[i].table, &p->letters[i].text, &p->letters[i].sender,
                                  &p->letters[i].record};
        for (size_t k = 0; k < sizeof(slices) / sizeof(slices[0]); k++)
            slices[k]->ptr = p->buf.ptr + (size_t)slices[k]->ptr;
    }
    return 0;
}

int replay_page_read(struct replay *r, enum store_shelf shelf, struct slice table,
                     struct store_letter_id after, uint32_t max, struct err *e)
{
    struct page_read read = {.page = &r->page, .bytes_max = LIMIT_WAL_ENTRY_BYTES / 2};
    page_begin(&r->page, max < REPLAY_BATCH_ROWS ? max : REPLAY_BATCH_ROWS);
    int rc = store_letter_list(r->options.store, shelf, table, after, page_add, &read, e);
    return rc != 0 ? rc : page_end(&r->page);
}

static void page_one(void *ctx, const struct store_letter *l)
{
    (void)page_add(ctx, l);
}

/* The next letters that are named one by one, of one table. */
static int page_read_ids(struct replay *r, struct replay_active *a, struct err *e)
{
    struct replay_task *task = a->task;
    struct page_read read = {.page = &r->page, .bytes_max = LIMIT_WAL_ENTRY_BYTES / 2};
    page_begin(&r->page, REPLAY_BATCH_ROWS);
    int rc = 0;
    while (rc == 0 && !r->page.full && a->id_at < a->id_count) {
        uint32_t before = r->page.count;
        rc = store_letter_get(r->options.store, task->choice.shelf, a->ids[a->id_at], page_one,
                              &read, e);
        if (rc == WH_ENOTFOUND) {
            task->missing++;
            a->id_at++;
            rc = 0;
            continue;
        }
        if (rc != 0 || r->page.full)
            break;
        const struct store_letter *l = r->page.letters;
        if (before > 0 &&
            (l[0].table.len != l[before].table.len ||
             memcmp(r->page.buf.ptr + (size_t)l[0].table.ptr,
                    r->page.buf.ptr + (size_t)l[before].table.ptr, l[0].table.len) != 0)) {
            r->page.count = before; /* another table's: the next entry is for it */
            break;
        }
        a->id_at++;
    }
    return rc != 0 ? rc : page_end(&r->page);
}

/* ---- the task ---- */

void replay_active_free(struct replay_active *a)
{
    for (uint32_t i = 0; i < a->table_count; i++)
        free(a->tables[i]);
    free(a->tables);
    free(a->ids);
    free(a);
}

static void add_table(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct replay_active *a = ctx;
    (void)records;
    (void)bytes;
    char **tables = realloc(a->tables, (a->table_count + 1) * sizeof(*tables));
    if (tables == NULL)
        return;
    a->tables = tables;
    char *name = slice_dup(table);
    if (name != NULL)
        a->tables[a->table_count++] = name;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static int by_id(const void *x, const void *y)
{
    return store_letter_id_cmp(*(const struct store_letter_id *)x,
                               *(const struct store_letter_id *)y);
}

/* Each id once: a letter named twice must not enter twice in one entry. */
static int sort_ids(struct replay_active *a)
{
    const struct replay_choice *choice = &a->task->choice;
    a->ids = malloc((choice->id_count + 1) * sizeof(*a->ids));
    if (a->ids == NULL)
        return -ENOMEM;
    memcpy(a->ids, choice->ids, choice->id_count * sizeof(*a->ids));
    qsort(a->ids, choice->id_count, sizeof(*a->ids), by_id);
    for (size_t i = 0; i < choice->id_count; i++)
        if (a->id_count == 0 || by_id(&a->ids[a->id_count - 1], &a->ids[i]) != 0)
            a->ids[a->id_count++] = a->ids[i];
    return 0;
}

static enum replay_step enter_begin(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    const struct replay_choice *choice = &task->choice;
    static const struct store_letter_id zero;
    bool after = store_letter_id_cmp(task->enter.after, zero) != 0;
    struct err e = {0};
    if (choice->id_count > REPLAY_IDS_MAX || (choice->ids != NULL && choice->table.len > 0) ||
        (after && choice->table.len == 0))
        return replay_fail(task, WH_ESYNTAX,
                           "name a table (and where to begin in it), or up to %d ids, not both",
                           REPLAY_IDS_MAX);
    a->started = true;
    a->at = task->enter.after;
    if (choice->ids != NULL && sort_ids(a) != 0)
        return replay_fail(task, -ENOMEM, "out of memory");
    if (choice->ids == NULL && choice->table.len > 0)
        add_table(a, choice->table, 0, 0);
    else if (choice->ids == NULL &&
             store_letter_counts(r->options.store, choice->shelf, add_table, a, &e) != 0)
        return replay_fail(task, e.code, "%.400s", e.text);
    if (a->table_count > 0)
        qsort(a->tables, a->table_count, sizeof(*a->tables), by_name);
    return STEP_MORE;
}

static void say(struct replay_task *task, const struct store_letter *l, bool good, int32_t code,
                const char *message, struct slice record)
{
    struct replay_outcome o = {
        .letter = l, .ok = good, .code = code, .message = message, .record = record};
    if (task->enter.outcome != NULL)
        task->enter.outcome(task->enter.ctx, &o);
}

struct page_sums {
    uint64_t looked_at, entered, refused;
};

/* One letter: rule, check, into the batch. 0, or an error that ends the task. */
static int enter_letter(struct replay *r, struct replay_task *task, struct schema_catalog *catalog,
                        const struct schema_table *t, const struct store_letter *l,
                        struct page_sums *sums)
{
    static const char padding[LIMIT_JSON_PADDING];
    static const struct slice none;
    struct record_result result;
    struct slice record = l->record;
    char why[REPLAY_TEXT_CAP] = "";
    if ((task->choice.before_ns != 0 && l->failed_at_ns >= task->choice.before_ns) ||
        (task->enter.match != NULL && !task->enter.match(task->enter.ctx, l)))
        return 0;
    sums->looked_at++;
    if (t == NULL) {
        (void)snprintf(why, sizeof(why), "unknown table: %.*s", SLICE_ARG(l->table));
        sums->refused++;
        say(task, l, false, CODE_UNKNOWN_TABLE, why, none);
        return 0;
    }
    buf_reset(&r->changed);
    int rc = task->enter.transform != NULL
                 ? task->enter.transform(task->enter.ctx, l, &r->changed, why)
                 : 0;
    if (rc < 0)
        return rc;
    if (rc > 0) {
        sums->refused++;
        say(task, l, false, 0, why, none);
        return 0;
    }
    if (r->changed.len > 0) {
        record.len = r->changed.len;
        buf_put(&r->changed, padding, sizeof(padding));
        if (!buf_ok(&r->changed))
            return -ENOMEM;
        record.ptr = r->changed.ptr;
    }
    struct buf *text = &r->batch.wal.text;
    size_t off = text->len;
    memset(&result, 0, offsetof(struct record_result, message) + 1);
    rc = check_record(r, catalog, t, record, task->enter.ignore_unknown, l->received_ns, &result);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        sums->refused++;
        say(task, l, false, result.unknown_column ? CODE_UNKNOWN_FIELD : 0, result.message, none);
        return 0;
    }
    record = (struct slice){text->ptr + off, text->len - off};
    rc = task->enter.judge != NULL
             ? task->enter.judge(task->enter.ctx, catalog, t, record, why, &result.code)
             : 0;
    if (rc != 0) {
        text->len = off;
        if (rc < 0)
            return rc;
        sums->refused++;
        say(task, l, false, result.code, why, none);
        return 0;
    }
    rc = wal_batch_add(&r->batch.wal, l->received_ns, off);
    if (rc != 0)
        return rc;
    replay_batch_letter(r, task->choice.shelf, l->id);
    sums->entered++;
    say(task, l, true, 0, NULL,
        (struct slice){text->ptr + off, text->len - off - 1}); /* without the LF */
    return 0;
}

/* The letters of the page into one entry. */
static int enter_page(struct replay *r, struct replay_active *a, struct schema_catalog *catalog,
                      struct slice table)
{
    struct replay_task *task = a->task;
    const struct schema_table *t = schema_catalog_find(catalog, table);
    struct page_sums sums = {0};
    uint64_t index = 0;
    int rc = 0;
    replay_batch_reset(&r->batch);
    for (uint32_t i = 0; i < r->page.count && rc == 0; i++)
        rc = enter_letter(r, task, catalog, t, &r->page.letters[i], &sums);
    if (rc == 0 && !task->enter.dry_run)
        rc = replay_batch_commit(r, table, task->who,
                                 task->choice.shelf == STORE_DEAD ? WAL_BATCH_QUIET : 0, &index);
    if (rc != 0)
        return rc;
    if (index != 0) {
        task->index = index;
        task->time_ns = io_realtime_ns();
        metric_add(r->rows[task->choice.shelf], (int64_t)sums.entered);
    }
    task->looked_at += sums.looked_at;
    task->entered += sums.entered;
    task->refused += sums.refused;
    return 0;
}

/* The page's letters were dealt with: is there more to do? */
static enum replay_step enter_next(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    static const struct store_letter_id zero;
    if (task->choice.ids != NULL)
        return a->id_at < a->id_count ? STEP_MORE : STEP_DONE;
    if (r->page.count > 0)
        a->at = r->page.letters[r->page.count - 1].id;
    bool more = r->page.full;
    if (!more) {
        a->table_at++;
        a->at = zero;
    }
    if (task->choice.table.len > 0)
        task->next = a->at;
    if (task->enter.limit != 0 && task->looked_at >= task->enter.limit)
        return STEP_DONE;
    return a->table_at < a->table_count ? STEP_MORE : STEP_DONE;
}

static enum replay_step enter_failed(struct replay_task *task, int rc, const struct err *e)
{
    if (rc == WH_EAGAIN)
        return replay_fail(task, rc,
                           "the log has no room; what is counted here has entered, the "
                           "rest is where it was");
    return replay_fail(task, rc, "%.400s", e->text[0] != '\0' ? e->text : err_text(rc));
}

enum replay_step replay_enter_step(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    struct err e = {0};
    if (!a->started) {
        enum replay_step step = enter_begin(r, a);
        if (step == STEP_DONE)
            return step;
    }
    bool named = task->choice.ids != NULL;
    if (!named && a->table_at >= a->table_count)
        return STEP_DONE;
    struct slice table = named ? (struct slice){0} : slice_str(a->tables[a->table_at]);
    if (!task->enter.dry_run && replay_blocked(r, table) != NULL)
        return STEP_WAIT;
    struct schema_catalog *catalog = r->options.catalog(r->options.ctx);
    if (catalog == NULL)
        return replay_fail(task, WH_EAGAIN, "schema not loaded yet");
    uint64_t left = task->enter.limit == 0                ? REPLAY_BATCH_ROWS
                    : task->enter.limit > task->looked_at ? task->enter.limit - task->looked_at
                                                          : 1;
    int rc =
        named ? page_read_ids(r, a, &e)
              : replay_page_read(r, task->choice.shelf, table, a->at,
                                 left > REPLAY_BATCH_ROWS ? REPLAY_BATCH_ROWS : (uint32_t)left, &e);
    if (rc == 0 && r->page.count > 0)
        rc = enter_page(r, a, catalog, r->page.letters[0].table);
    schema_catalog_unref(catalog);
    return rc != 0 ? enter_failed(task, rc, &e) : enter_next(r, a);
}
