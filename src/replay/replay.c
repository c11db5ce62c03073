/* SPDX-License-Identifier: Apache-2.0 */
/* The thread: tasks, jobs and held rows in turn, a step each, until none can go on; then sleep. */
#include "replay/priv.h"

#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAY_MAGIC 0x5245504cu
#define NS_PER_MS    1000000u
#define ROOM_TRIES   50
#define ROOM_NAP_MS  20

enum replay_step replay_fail(struct replay_task *task, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(task->error, sizeof(task->error), fmt, args);
    va_end(args);
    task->result = code;
    return STEP_DONE;
}

/* ---- the log and the store ---- */

static void wait_queue(struct queue *q, int timeout_ms)
{
    if (!queue_sleep(q))
        return;
    struct pollfd fd = {.fd = queue_fd(q), .events = POLLIN};
    (void)poll(&fd, 1, timeout_ms);
    queue_wake_ack(q);
}

/* The batch's records become events now, whenever they were accepted: they get instants of now, for
 * subscribers resume by them (http-api §11.3). */
static int propose_in_order(struct replay *r, struct wal_batch_builder *batch)
{
    uint64_t now = io_realtime_ns(), last = commit_order_lock(r->options.commit);
    uint64_t first = now > last ? now : last + 1;
    wal_batch_restamp(batch, first);
    commit_order_take(r->options.commit, first + batch->count - 1);
    int rc = commit_propose(r->options.commit, &r->proposal);
    commit_order_unlock(r->options.commit);
    return rc;
}

int replay_commit(struct replay *r, uint8_t type, const struct iovec *parts, int part_count,
                  struct wal_batch_builder *order, uint64_t *index)
{
    struct proposal *p = &r->proposal;
    int rc = WH_EFULL;
    for (int i = 0; i < ROOM_TRIES; i++) {
        memset(p, 0, sizeof(*p));
        p->type = type;
        p->part_count = part_count;
        memcpy(p->parts, parts, (size_t)part_count * sizeof(*parts));
        p->done = &r->answers;
        rc = order != NULL ? propose_in_order(r, order) : commit_propose(r->options.commit, p);
        if (rc == 0) {
            while (queue_pop(&r->answers) == NULL)
                wait_queue(&r->answers, -1);
            rc = p->result;
        }
        if (rc == 0)
            *index = p->index;
        if ((rc != WH_EFULL && rc != WH_EAGAIN) || atomic_load(&r->stopping))
            break;
        (void)poll(NULL, 0, ROOM_NAP_MS);
    }
    return rc == WH_EFULL ? WH_EAGAIN : rc;
}

int replay_commit_control(struct replay *r, uint64_t *index)
{
    struct iovec part = {r->payload.ptr, r->payload.len};
    if (!buf_ok(&r->payload))
        return -ENOMEM;
    int rc = replay_commit(r, WAL_CONTROL, &part, 1, NULL, index);
    if (rc == 0)
        r->shelf_last = *index;
    return rc;
}

bool replay_settled(struct replay *r)
{
    struct err e = {0};
    if (flush_shelf_index(r->options.flush) < r->shelf_last) {
        flush_shelf_want(r->options.flush, r->shelf_last);
        return false;
    }
    return store_epoch(r->options.store, &r->epoch, &e) == 0;
}

static struct replay_ahead *ahead_of(struct replay *r, struct slice table)
{
    for (uint32_t i = 0; i < r->ahead_count; i++)
        if (slice_eq_str(table, r->ahead[i].table))
            return &r->ahead[i];
    return NULL;
}

const char *replay_blocked(struct replay *r, struct slice table)
{
    const char *cause;
    uint64_t flushed;
    struct err e = {0};
    if (!commit_accepting(r->options.commit, &cause))
        return "room in the log";
    struct replay_ahead *a = ahead_of(r, table);
    if (a == NULL || a->new_rows < REPLAY_AHEAD_ROWS / 2)
        return NULL;
    if (a->old_index != 0 &&
        (store_position(r->options.store, table, &flushed, &e) != 0 || flushed < a->old_index))
        return "ClickHouse to take what has entered";
    a->old_index = a->new_index;
    a->new_index = a->new_rows = 0;
    return NULL;
}

void replay_entered(struct replay *r, struct slice table, uint64_t index, uint32_t rows)
{
    struct replay_ahead *a = ahead_of(r, table);
    if (a == NULL && r->ahead_count == r->ahead_cap) {
        uint32_t cap = r->ahead_cap == 0 ? 4 : r->ahead_cap * 2;
        struct replay_ahead *all = realloc(r->ahead, cap * sizeof(*all));
        if (all == NULL)
            return; /* this batch is not counted: a bound a little too wide */
        r->ahead = all;
        r->ahead_cap = cap;
    }
    if (a == NULL) {
        char *name = slice_dup(table);
        if (name == NULL)
            return;
        a = &r->ahead[r->ahead_count++];
        *a = (struct replay_ahead){.table = name};
    }
    a->new_index = index;
    a->new_rows += rows;
}

/* ---- edit and purge ---- */

/* An id as a payload has it. */
static struct store_letter_id id_out(const struct replay *r, struct store_letter_id id)
{
    if (id.epoch == r->epoch)
        id.epoch = FLUSH_EPOCH_THIS;
    return id;
}

static void ignore_letter(void *ctx, const struct store_letter *l)
{
    (void)ctx;
    (void)l;
}

/* The record on one line, in r->changed; false: it is no JSON object. */
static bool one_line(struct replay *r, struct slice record)
{
    struct json_doc doc;
    char padding[LIMIT_JSON_PADDING] = {0};
    size_t len = record.len;
    if (len > LIMIT_RECORD_BYTES)
        return false;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_put_slice(&text, record);
    buf_put(&text, padding, sizeof(padding));
    buf_reset(&r->changed);
    bool good = buf_ok(&text) && json_reader_begin(r->reader, text.ptr, len, JSON_ONE) == 0 &&
                json_reader_next(r->reader, &doc) == 0 && doc.nodes[0].kind == JSON_OBJECT &&
                !json_reader_trailing(r->reader);
    if (good)
        json_put_minified(&r->changed, &doc, &doc.nodes[0]);
    buf_fini(&text);
    return good && buf_ok(&r->changed);
}

static enum replay_step commit_failed(struct replay_task *task, int rc)
{
    return replay_fail(task, rc, "the log takes no entry: %s; nothing was changed", err_text(rc));
}

static enum replay_step edit_step(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    struct err e = {0};
    if (a->committed)
        return STEP_DONE;
    if (!one_line(r, task->edit.record))
        return replay_fail(task, WH_ESYNTAX,
                           "the record must be one JSON object of at most %llu "
                           "bytes",
                           (unsigned long long)LIMIT_RECORD_BYTES);
    int rc = store_letter_get(r->options.store, task->edit.shelf, task->edit.id, ignore_letter,
                              NULL, &e);
    if (rc == WH_ENOTFOUND)
        return replay_fail(task, rc, "no such letter (any more)");
    if (rc != 0)
        return replay_fail(task, rc, "%.400s", e.text);
    struct flush_edit edit = {.shelf = task->edit.shelf,
                              .id = id_out(r, task->edit.id),
                              .who = task->who,
                              .record = buf_slice(&r->changed)};
    buf_reset(&r->payload);
    flush_edit_put(&r->payload, &edit);
    rc = replay_commit_control(r, &task->index);
    if (rc != 0)
        return commit_failed(task, rc);
    task->time_ns = io_realtime_ns();
    a->committed = true;
    return STEP_MORE;
}

static enum replay_step purge_receipt(struct replay *r, struct replay_task *task)
{
    struct flush_receipt_table *tables = NULL;
    uint32_t n = 0;
    int rc = flush_receipt_take(r->options.flush, task->index, &task->purged_count,
                                &task->purged_bytes, &task->time_ns, &tables, &n);
    if (rc != 0)
        return replay_fail(task, rc,
                           "purged with log entry %" PRIu64 ", but the receipt is lost: %s",
                           task->index, err_text(rc));
    task->purged = calloc(n + 1, sizeof(*task->purged));
    for (uint32_t i = 0; i < n && task->purged != NULL; i++) {
        memcpy(task->purged[i].table, tables[i].table, sizeof(tables[i].table));
        task->purged[i].count = tables[i].records;
        task->purged[i].bytes = tables[i].bytes;
        task->purged_tables++;
    }
    free(tables);
    return STEP_DONE;
}

static enum replay_step purge_step(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    const struct replay_choice *choice = &task->choice;
    if (a->committed)
        return purge_receipt(r, task);
    if (choice->id_count > REPLAY_IDS_MAX || (choice->ids != NULL && choice->table.len > 0))
        return replay_fail(task, WH_ESYNTAX, "name a table, or up to %d ids, not both",
                           REPLAY_IDS_MAX);
    if (choice->ids != NULL && choice->id_count == 0)
        return STEP_DONE;
    struct store_letter_id *ids = NULL;
    if (choice->ids != NULL && (ids = calloc(choice->id_count, sizeof(*ids))) == NULL)
        return replay_fail(task, -ENOMEM, "out of memory");
    for (size_t i = 0; ids != NULL && i < choice->id_count; i++)
        ids[i] = id_out(r, choice->ids[i]);
    struct flush_purge purge = {.shelf = choice->shelf,
                                .who = task->who,
                                .table = choice->table,
                                .before_ns = choice->before_ns,
                                .count = (uint32_t)choice->id_count};
    buf_reset(&r->payload);
    flush_purge_put(&r->payload, &purge, ids);
    free(ids);
    int rc = replay_commit_control(r, &task->index);
    if (rc != 0)
        return commit_failed(task, rc);
    a->committed = true;
    return STEP_MORE;
}

/* ---- tasks ---- */

static void take_tasks(struct replay *r)
{
    struct queue_link *link;
    struct replay_active **last = &r->active;
    while (*last != NULL)
        last = &(*last)->next;
    while ((link = queue_pop(&r->tasks)) != NULL) {
        struct replay_task *task = QUEUE_ITEM(link, struct replay_task, link);
        struct replay_active *a = calloc(1, sizeof(*a));
        if (a == NULL) {
            (void)replay_fail(task, -ENOMEM, "out of memory");
            atomic_fetch_sub(&r->task_count, 1);
            queue_push(task->done, &task->link);
            continue;
        }
        a->task = task;
        *last = a;
        last = &a->next;
    }
}

static void task_answer(struct replay *r, struct replay_active *a)
{
    struct replay_task *task = a->task;
    replay_active_free(a);
    atomic_fetch_sub(&r->task_count, 1);
    queue_push(task->done, &task->link);
}

static enum replay_step task_step(struct replay *r, struct replay_active *a)
{
    /* Every task looks at the shelves or the jobs as our entries left them. */
    if (!replay_settled(r))
        return STEP_WAIT;
    switch (a->task->kind) {
    case REPLAY_ENTER:
        return replay_enter_step(r, a);
    case REPLAY_EDIT:
        return edit_step(r, a);
    case REPLAY_PURGE:
        return purge_step(r, a);
    case REPLAY_JOB_START:
    case REPLAY_JOB_CANCEL:
        return replay_job_task(r, a);
    }
    return replay_fail(a->task, WH_EUNSUPPORTED, "no such task");
}

/* The step waits; for too long? */
static bool stalled(struct replay_active *a, uint64_t now)
{
    if (a->waiting_ns == 0)
        a->waiting_ns = now;
    return now - a->waiting_ns > REPLAY_STALL_MS * UINT64_C(1000000);
}

/* Returns whether something was done. */
static bool tasks_turn(struct replay *r, uint64_t now)
{
    bool moved = false;
    struct replay_active **at = &r->active;
    while (*at != NULL) {
        struct replay_active *a = *at;
        enum replay_step step = a->task->kind == REPLAY_ENTER && atomic_load(&r->draining)
                                    ? replay_fail(a->task, WH_ESTOPPED,
                                                  "the daemon is stopping; what is counted here "
                                                  "has entered, the rest is where it was")
                                    : task_step(r, a);
        moved = moved || step != STEP_WAIT;
        if (step == STEP_WAIT && stalled(a, now))
            step = replay_fail(a->task, WH_EAGAIN,
                               "the log or ClickHouse does not keep up; try again later");
        else if (step != STEP_WAIT)
            a->waiting_ns = 0;
        if (step == STEP_DONE) {
            enum store_shelf shelf =
                a->task->kind == REPLAY_EDIT ? a->task->edit.shelf : a->task->choice.shelf;
            if (shelf == STORE_HELD)
                replay_held_again(r);
            *at = a->next;
            task_answer(r, a);
        } else {
            at = &a->next;
        }
    }
    return moved;
}

/* ---- the thread ---- */

static void *replay_main(void *arg)
{
    struct replay *r = arg;
    (void)pthread_setname_np(pthread_self(), "wh-replay");
    while (!atomic_load(&r->stopping)) {
        uint64_t now = io_monotonic_ns(), next = now + UINT64_C(1000000000);
        take_tasks(r);
        if (!r->jobs_loaded && replay_settled(r))
            replay_jobs_load(r);
        bool moved = tasks_turn(r, now);
        for (int i = 0; i < REPLAY_JOBS_MAX; i++)
            if (r->jobs[i].used)
                moved = replay_job_step(r, &r->jobs[i], now, &next) != STEP_WAIT || moved;
        moved = replay_held_step(r, now, &next) == STEP_MORE || moved;
        if (moved)
            continue;
        if (r->active != NULL && next > now + REPLAY_AGAIN_MS * UINT64_C(1000000))
            next = now + REPLAY_AGAIN_MS * UINT64_C(1000000);
        now = io_monotonic_ns();
        wait_queue(&r->tasks, next <= now ? 0 : (int)((next - now) / NS_PER_MS + 1));
    }
    take_tasks(r);
    while (r->active != NULL) {
        struct replay_active *a = r->active;
        r->active = a->next;
        (void)replay_fail(a->task, WH_ESTOPPED, "the daemon is stopping");
        task_answer(r, a);
    }
    return NULL;
}

static void replay_free(struct replay *r)
{
    for (uint32_t i = 0; i < r->ahead_count; i++)
        free(r->ahead[i].table);
    free(r->ahead);
    replay_jobs_close(r);
    replay_held_free(r);
    record_checker_free(r->checker);
    json_reader_free(r->reader);
    replay_batch_fini(&r->batch);
    free(r->page.letters);
    buf_fini(&r->page.buf);
    buf_fini(&r->payload);
    buf_fini(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
    r->magic = 0;
    free(r);
}

static struct metric *rows_metric(const char *from)
{
    return metric_new(METRIC_COUNTER, "wavehouse_replay_rows_total",
                      "Rows that entered the log again", "from=\"%s\"", from);
}

int replay_start(struct replay **out, const struct replay_options *options, struct err *e)
{
    struct replay *r = aligned_alloc(_Alignof(struct replay), sizeof(*r));
    if (r == NULL)
        return err_set(e, -ENOMEM, "replay: out of memory");
    memset(r, 0, sizeof(*r));
    r->magic = REPLAY_MAGIC;
    r->options = *options;
    r->checker = record_checker_new();
    r->reader = json_reader_new(LIMIT_RECORD_BYTES + LIMIT_JSON_PADDING);
    replay_batch_init(&r->batch);
    buf_init(&r->page.buf, SIZE_MAX);
    buf_init(&r->payload, LIMIT_WAL_PAYLOAD_BYTES);
    buf_init(&r->changed, LIMIT_RECORD_BYTES + 64 * KIB);
    (void)pthread_mutex_init(&r->lock, NULL);
    r->rows[0] = rows_metric("dead");
    r->rows[1] = rows_metric("held");
    r->rows[2] = rows_metric("log");
    /* Entries of an earlier run that the store does not have yet are among these. */
    r->shelf_last = wal_commit_index(options->wal);
    int rc = r->checker == NULL || r->reader == NULL ? -ENOMEM : queue_init(&r->tasks, SIZE_MAX);
    if (rc == 0 && (rc = queue_init(&r->answers, SIZE_MAX)) != 0)
        queue_fini(&r->tasks);
    if (rc == 0) {
        flush_shelf_watch(options->flush, &r->tasks);
        rc = -pthread_create(&r->thread, NULL, replay_main, r);
        if (rc != 0) {
            flush_shelf_watch(options->flush, NULL);
            queue_fini(&r->tasks);
            queue_fini(&r->answers);
        }
    }
    if (rc != 0) {
        replay_free(r);
        return err_set_errno(e, rc, "replay: cannot start its thread");
    }
    *out = r;
    return 0;
}

void replay_stop(struct replay *r)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, REPLAY_MAGIC);
    atomic_store(&r->stopping, true);
    queue_wake(&r->tasks);
    (void)pthread_join(r->thread, NULL);
    flush_shelf_watch(r->options.flush, NULL);
    commit_quiesce(r->options.commit);
    queue_fini(&r->tasks);
    queue_fini(&r->answers);
    replay_free(r);
}

void replay_drain(struct replay *r)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, REPLAY_MAGIC);
    atomic_store(&r->draining, true);
    queue_wake(&r->tasks);
}

int replay_ask(struct replay *r, struct replay_task *task)
{
    CHECK_MAGIC(r, REPLAY_MAGIC);
    if (atomic_fetch_add(&r->task_count, 1) >= REPLAY_TASKS_MAX) {
        atomic_fetch_sub(&r->task_count, 1);
        return WH_EFULL;
    }
    queue_push(&r->tasks, &task->link);
    return 0;
}

void replay_task_fini(struct replay_task *task)
{
    free(task->purged);
    task->purged = NULL;
    task->purged_tables = 0;
}
