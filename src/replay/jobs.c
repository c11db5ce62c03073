/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: a range of the log into a table.
 *
 * A job begins with a control entry, whose log index is its number, and ends with another. In
 * between every entry that carries its rows says where the job is then, so a restart goes on at the
 * first record that has not entered. An open cursor keeps the log from being deleted under the job;
 * it is given back when new events find no room: ingest goes first, and if the part that the job
 * still needs is deleted then, the job fails and says which. */
#include "replay/priv.h"

#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "io/clock.h"
#include "schema/instant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_MAX      16384 /* log entries looked at in a step */
#define UNPIN_NS      UINT64_C(5000000000)
#define RATE_SLICES   10 /* batches a second of a job with a rate */
#define ROW_SLACK     1024
#define NS_PER_SECOND UINT64_C(1000000000)

static const char *const state_names[] = {[FLUSH_JOB_RUNNING] = "running",
                                          [FLUSH_JOB_DONE] = "done",
                                          [FLUSH_JOB_CANCELLED] = "cancelled",
                                          [FLUSH_JOB_FAILED] = "failed"};

/* ---- the list ---- */

static struct replay_job *job_free_slot(struct replay *r)
{
    for (int i = 0; i < REPLAY_JOBS_MAX; i++)
        if (!r->jobs[i].used)
            return &r->jobs[i];
    return NULL;
}

static struct replay_job *job_by_number(struct replay *r, uint64_t number)
{
    for (int i = 0; i < REPLAY_JOBS_MAX; i++)
        if (r->jobs[i].used && r->jobs[i].number == number)
            return &r->jobs[i];
    return NULL;
}

static struct replay_job *job_into(struct replay *r, struct slice into)
{
    for (int i = 0; i < REPLAY_JOBS_MAX; i++)
        if (r->jobs[i].used && r->jobs[i].ended_index == 0 && slice_eq(r->jobs[i].spec.into, into))
            return &r->jobs[i];
    return NULL;
}

/* Take a job in from its payload. */
static int job_take(struct replay *r, uint64_t number, struct slice payload)
{
    struct replay_job *j = job_free_slot(r);
    if (j == NULL)
        return WH_EFULL;
    (void)pthread_mutex_lock(&r->lock);
    memset(j, 0, sizeof(*j));
    buf_init(&j->texts, SIZE_MAX);
    buf_put_slice(&j->texts, payload);
    int rc = buf_ok(&j->texts) ? flush_job_get(buf_slice(&j->texts), &j->spec, NULL) : -ENOMEM;
    j->number = number;
    j->used = rc == 0;
    if (rc != 0)
        buf_fini(&j->texts);
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

static void job_drop(struct replay *r, struct replay_job *j)
{
    if (j->cursor != NULL)
        wal_cursor_close(j->cursor);
    (void)pthread_mutex_lock(&r->lock);
    buf_fini(&j->texts);
    memset(j, 0, sizeof(*j));
    (void)pthread_mutex_unlock(&r->lock);
}

void replay_jobs_close(struct replay *r)
{
    for (int i = 0; i < REPLAY_JOBS_MAX; i++)
        if (r->jobs[i].used)
            job_drop(r, &r->jobs[i]);
}

static bool load_one(void *ctx, uint64_t number, struct slice value)
{
    struct replay *r = ctx;
    struct flush_job_spec spec;
    if (flush_job_get(value, &spec, NULL) != 0 || spec.state != FLUSH_JOB_RUNNING)
        return true;
    if (job_take(r, number, value) == 0)
        log_info("replay.resumed",
                 "job=%" PRIu64 " table=%.*s into=%.*s position=%" PRIu64 " to=%" PRIu64, number,
                 SLICE_ARG(spec.table), SLICE_ARG(spec.into), spec.next_index, spec.to);
    return true;
}

void replay_jobs_load(struct replay *r)
{
    struct err e = {0};
    if (store_job_each(r->options.store, load_one, r, &e) != 0) {
        static struct log_limit limit = LOG_LIMIT(60);
        uint64_t repeated;
        if (log_limit_pass(&limit, &repeated))
            log_error("replay.store",
                      "%s; jobs go on when the store can be read; repeated=%" PRIu64, e.text,
                      repeated);
        replay_jobs_close(r);
        return;
    }
    r->jobs_loaded = true;
}

/* ---- beginning and ending ---- */

/* End a job for good. It is forgotten when the store knows. STEP_WAIT: no room for the entry yet.
 */
static enum replay_step job_end(struct replay *r, struct replay_job *j, enum flush_job_state state,
                                const char *reason)
{
    struct flush_job_end end = {.job = j->number, .state = state, .reason = slice_str(reason)};
    uint64_t index;
    buf_reset(&r->payload);
    flush_job_end_put(&r->payload, &end);
    if (replay_commit_control(r, &index) != 0)
        return STEP_WAIT;
    if (state == FLUSH_JOB_FAILED)
        log_error("replay.failed", "job=%" PRIu64 " table=%.*s into=%.*s: %s", j->number,
                  SLICE_ARG(j->spec.table), SLICE_ARG(j->spec.into), reason);
    else
        log_info("replay.ended", "job=%" PRIu64 " table=%.*s into=%.*s rows=%" PRIu64 " state=%s",
                 j->number, SLICE_ARG(j->spec.table), SLICE_ARG(j->spec.into), j->spec.rows,
                 state_names[state]);
    if (j->cursor != NULL)
        wal_cursor_close(j->cursor);
    (void)pthread_mutex_lock(&r->lock);
    j->cursor = NULL;
    j->waits_for = NULL;
    j->ended_index = index;
    (void)snprintf(j->reason, sizeof(j->reason), "%.*s", REPLAY_TEXT_CAP - 1, reason);
    j->spec.state = state;
    j->spec.reason = slice_str(j->reason);
    j->spec.changed_ns = io_realtime_ns();
    (void)pthread_mutex_unlock(&r->lock);
    return STEP_DONE;
}

/* The first log index whose entry is not older than time_ns; last + 1 when all are. Times grow with
 * indexes, but for a clock that was set back. */
static int index_at(struct replay *r, uint64_t time_ns, uint64_t first, uint64_t last,
                    uint64_t *index, struct err *e)
{
    struct wal_cursor *c = NULL;
    struct wal_view v;
    uint64_t lo = first, hi = last + 1;
    int rc = wal_cursor_open(&c, r->options.wal, first, e);
    while (rc == 0 && lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        rc = wal_cursor_seek(c, mid, e);
        if (rc == 0)
            rc = wal_cursor_next(c, &v, e);
        if (rc == 0 && v.time_ns < time_ns)
            lo = mid + 1;
        else if (rc == 0)
            hi = mid;
    }
    if (c != NULL)
        wal_cursor_close(c);
    *index = lo;
    return rc;
}

/* The log indexes that the task names. 0, or the task has its error. */
static int job_range(struct replay *r, struct replay_task *task, uint64_t *from, uint64_t *to)
{
    struct wal_stats ws;
    struct err e = {0};
    wal_stats_get(r->options.wal, &ws);
    int rc = 0;
    *from = task->job.from;
    *to = task->job.to == 0 ? ws.commit_index : task->job.to;
    if (task->job.by_time) {
        if (task->job.from != 0)
            rc = index_at(r, task->job.from, ws.first_index, ws.commit_index, from, &e);
        if (rc == 0 && task->job.to != 0) {
            rc = index_at(r, task->job.to + 1, ws.first_index, ws.commit_index, to, &e);
            *to -= 1;
        }
    }
    if (rc != 0)
        return replay_fail(task, rc, "%.400s", e.text), rc;
    if (*from == 0)
        *from = ws.first_index;
    if (*from < ws.first_index)
        return replay_fail(task, WH_ENOTFOUND,
                           "log entries %" PRIu64 " to %" PRIu64
                           " are deleted; the oldest that is left is %" PRIu64,
                           *from, ws.first_index - 1, ws.first_index),
               WH_ENOTFOUND;
    *to = *to < ws.commit_index ? *to : ws.commit_index;
    if (*from > *to)
        return replay_fail(task, WH_ENOTFOUND, "the log has no entries in this range"),
               WH_ENOTFOUND;
    return 0;
}

static bool table_known(struct replay *r, struct slice table)
{
    struct schema_catalog *c = r->options.catalog(r->options.ctx);
    bool known = c != NULL && schema_catalog_find(c, table) != NULL;
    schema_catalog_unref(c);
    return known;
}

static enum replay_step job_start(struct replay *r, struct replay_task *task)
{
    struct slice into = task->job.into.len > 0 ? task->job.into : task->job.table;
    uint64_t from, to, now = io_realtime_ns();
    if (task->job.table.len == 0 || task->job.table.len > LIMIT_NAME_BYTES ||
        into.len > LIMIT_NAME_BYTES)
        return replay_fail(task, WH_ESYNTAX, "name a table");
    if (!table_known(r, into))
        return replay_fail(task, WH_ENOTFOUND, "unknown table: %.*s", SLICE_ARG(into));
    const struct replay_job *other = job_into(r, into);
    if (other != NULL)
        return replay_fail(task, WH_EFULL,
                           "job %" PRIu64 " is filling this table; wait for it or cancel it",
                           other->number);
    if (job_free_slot(r) == NULL)
        return replay_fail(task, WH_EFULL, "%d jobs are under way; wait for one or cancel one",
                           REPLAY_JOBS_MAX);
    if (job_range(r, task, &from, &to) != 0)
        return STEP_DONE;
    struct flush_job_spec spec = {.table = task->job.table,
                                  .into = into,
                                  .who = task->who,
                                  .held = task->job.held,
                                  .ignore_unknown = task->job.ignore_unknown,
                                  .from = from,
                                  .to = to,
                                  .next_index = from,
                                  .rows_per_second = task->job.rows_per_second,
                                  .started_ns = now,
                                  .changed_ns = now};
    buf_reset(&r->payload);
    flush_job_put(&r->payload, &spec);
    int rc = replay_commit_control(r, &task->index);
    if (rc == 0)
        rc = job_take(r, task->index, buf_slice(&r->payload));
    if (rc != 0)
        return replay_fail(task, rc, "the log takes no entry: %s; no job was started",
                           err_text(rc));
    task->job.job = task->index;
    task->time_ns = now;
    log_info("replay.started",
             "job=%" PRIu64 " table=%.*s into=%.*s from=%" PRIu64 " to=%" PRIu64 " by=%.*s",
             task->index, SLICE_ARG(spec.table), SLICE_ARG(spec.into), from, to,
             SLICE_ARG(task->who));
    return STEP_DONE;
}

static enum replay_step job_cancel(struct replay *r, struct replay_task *task)
{
    struct replay_job *j = job_by_number(r, task->job.job);
    char reason[REPLAY_TEXT_CAP];
    if (j == NULL || j->ended_index != 0)
        return replay_fail(task, WH_ENOTFOUND, "no such job under way");
    (void)snprintf(reason, sizeof(reason), "cancelled by %.*s", SLICE_ARG(task->who));
    if (job_end(r, j, FLUSH_JOB_CANCELLED, reason) != STEP_DONE)
        return replay_fail(task, WH_EAGAIN, "the log takes no entry; the job goes on");
    task->index = r->shelf_last;
    task->time_ns = io_realtime_ns();
    return STEP_DONE;
}

enum replay_step replay_job_task(struct replay *r, struct replay_active *a)
{
    if (!r->jobs_loaded)
        return STEP_WAIT;
    return a->task->kind == REPLAY_JOB_START ? job_start(r, a->task) : job_cancel(r, a->task);
}

/* ---- one batch ---- */

struct job_read { /* what a step has read, in force when its entry is committed */
    uint64_t next_index;
    uint32_t next_ordinal;
    uint32_t rows_max;
    struct schema_catalog *catalog;
    const struct schema_table *table; /* NULL: rows enter as they are */
};

/* Rows of this entry's that belong to the job's table, once. */
static bool entry_wanted(const struct replay_job *j, const struct wal_view *v,
                         struct wal_batch *batch)
{
    struct flush_origin origin;
    struct slice name;
    uint32_t count;
    uint8_t flags;
    if (v->type != WAL_EVENTS || !wal_batch_head(v->payload, &name, &count, &flags) ||
        !slice_eq(name, j->spec.table) || ((flags & WAL_BATCH_HELD) != 0 && !j->spec.held) ||
        wal_batch_parse(v->payload, batch, NULL) != 0)
        return false;
    /* A job of a table into itself left copies: their originals are in the log as well. */
    return (flags & WAL_BATCH_ORIGIN) == 0 || flush_origin_get(batch->origin, &origin, NULL) != 0 ||
           origin.kind != FLUSH_FROM_LOG || !origin.same_table;
}

static int job_add(struct replay *r, struct job_read *jr, const struct wal_batch_record *record)
{
    struct record_result result;
    size_t off;
    int rc = 1;
    /* The log's bytes may not be followed by padding that can be read on any machine's page: the
     * mapping promises LIMIT_JSON_PADDING. */
    if (jr->table != NULL)
        rc = replay_batch_record(r, jr->catalog, jr->table, record->text, true, record->received_ns,
                                 &off, &result);
    /* What does not fit goes as it is: it becomes a dead letter, with the reason. */
    if (rc > 0)
        rc = replay_batch_record(r, NULL, NULL, record->text, false, record->received_ns, &off,
                                 &result);
    return rc;
}

/* Where the records of an entry came from, when that was a shelf: read beside the log. */
struct job_letters {
    bool some;
    struct flush_origin origin; /* record i was letter i */
    struct wal_cursor *cursor;  /* NULL: not opened yet */
    uint64_t index;             /* of the entry that original is; 0: none is at hand */
    struct wal_batch original;
};

static void letters_begin(struct job_letters *l, const struct wal_batch *batch)
{
    memset(l, 0, sizeof(*l));
    l->some = (batch->flags & WAL_BATCH_ORIGIN) != 0 &&
              flush_origin_get(batch->origin, &l->origin, NULL) == 0 &&
              l->origin.kind == FLUSH_FROM_SHELF && l->origin.count == batch->count;
}

static void letters_end(struct job_letters *l)
{
    if (l->cursor != NULL)
        wal_cursor_close(l->cursor);
}

/* The entry at index is at hand, and this job takes rows from it. */
static bool letters_seek(struct replay *r, const struct replay_job *j, struct job_letters *l,
                         uint64_t index)
{
    struct wal_view v;
    if (l->index == index)
        return true;
    l->index = 0;
    int rc = l->cursor == NULL ? wal_cursor_open(&l->cursor, r->options.wal, index, NULL)
                               : wal_cursor_seek(l->cursor, index, NULL);
    if (rc != 0 || wal_cursor_next(l->cursor, &v, NULL) != 0 || v.index != index ||
        !entry_wanted(j, &v, &l->original))
        return false;
    l->index = index;
    return true;
}

/* A letter that entered again unchanged is in the log twice. When both are in the job's range, the
 * first stands for both; one that was changed meanwhile enters as another row. So does one whose
 * first place cannot be read any more: rather twice than not at all. */
static bool letter_again(struct replay *r, const struct replay_job *j, struct job_letters *l,
                         uint32_t i, struct slice text)
{
    if (!l->some)
        return false;
    struct store_letter_id id = flush_origin_id(&l->origin, i);
    if (id.epoch != FLUSH_EPOCH_THIS || id.index < j->spec.from || id.index > j->spec.to ||
        !letters_seek(r, j, l, id.index) || id.ordinal >= l->original.count)
        return false;
    return slice_eq(wal_batch_get(&l->original, id.ordinal).text, text) &&
           wal_cursor_check(l->cursor, NULL) == 0;
}

/* The records of one entry, from next_ordinal on. 0: all of them; 1: the batch is full. */
static int job_entry(struct replay *r, const struct replay_job *j, struct job_read *jr,
                     const struct wal_batch *batch)
{
    struct job_letters letters;
    int rc = 0;
    letters_begin(&letters, batch);
    for (uint32_t i = jr->next_ordinal; i < batch->count && rc == 0; i++) {
        struct wal_batch_record record = wal_batch_get(batch, i);
        if (letter_again(r, j, &letters, i, record.text))
            continue;
        if (r->batch.wal.count >= jr->rows_max ||
            replay_batch_full(&r->batch, record.text.len + ROW_SLACK)) {
            jr->next_ordinal = i;
            rc = 1;
        } else {
            rc = job_add(r, jr, &record);
        }
    }
    letters_end(&letters);
    return rc;
}

/* Read on until the batch is full, the range ends, or enough was looked at. */
static int job_read(struct replay *r, struct replay_job *j, struct job_read *jr, struct err *e)
{
    struct wal_view v;
    struct wal_batch batch;
    int rc = 0;
    for (int n = 0; n < SCAN_MAX && rc == 0 && jr->next_index <= j->spec.to; n++) {
        if (j->cursor_at != jr->next_index && (rc = wal_cursor_seek(j->cursor, jr->next_index, e)))
            return rc;
        if ((rc = wal_cursor_next(j->cursor, &v, e)) != 0)
            return rc;
        j->cursor_at = v.index + 1;
        if (v.index != jr->next_index)
            jr->next_ordinal = 0;
        jr->next_index = v.index;
        if (entry_wanted(j, &v, &batch))
            rc = job_entry(r, j, jr, &batch);
        int check = wal_cursor_check(j->cursor, e);
        if (check != 0)
            return check;
        if (rc == 0) {
            jr->next_index = v.index + 1;
            jr->next_ordinal = 0;
        }
    }
    if (rc == 1) /* this entry is to be read again */
        j->cursor_at = 0;
    return rc < 0 ? rc : 0;
}

static int job_commit(struct replay *r, struct replay_job *j, const struct job_read *jr)
{
    uint32_t rows = r->batch.wal.count;
    uint64_t index;
    if (rows > 0) {
        struct flush_origin origin = {.job = j->number,
                                      .next_index = jr->next_index,
                                      .next_ordinal = jr->next_ordinal,
                                      .rows = j->spec.rows + rows,
                                      .same_table = slice_eq(j->spec.table, j->spec.into)};
        flush_origin_log(&r->batch.origin, &origin);
        int rc = replay_batch_commit(r, j->spec.into, j->spec.who, WAL_BATCH_QUIET, &index);
        if (rc != 0)
            return rc;
        metric_add(r->rows[2], rows);
    }
    (void)pthread_mutex_lock(&r->lock);
    j->spec.next_index = jr->next_index;
    j->spec.next_ordinal = jr->next_ordinal;
    j->spec.rows += rows;
    j->spec.changed_ns = io_realtime_ns();
    (void)pthread_mutex_unlock(&r->lock);
    return 0;
}

/* ---- a step ---- */

static void job_waits(struct replay *r, struct replay_job *j, const char *what)
{
    (void)pthread_mutex_lock(&r->lock);
    j->waits_for = what;
    (void)pthread_mutex_unlock(&r->lock);
}

/* No room for new events: after a while, stop keeping the log. */
static void job_yield(struct replay_job *j, uint64_t now)
{
    if (j->blocked_ns == 0)
        j->blocked_ns = now;
    if (j->cursor != NULL && now - j->blocked_ns > UNPIN_NS) {
        wal_cursor_close(j->cursor);
        j->cursor = NULL;
    }
}

static enum replay_step job_failed(struct replay *r, struct replay_job *j, int rc, struct err *e)
{
    char reason[REPLAY_TEXT_CAP];
    struct wal_stats ws;
    wal_stats_get(r->options.wal, &ws);
    if (rc == WH_ENOTFOUND)
        (void)snprintf(reason, sizeof(reason),
                       "log entries %" PRIu64 " to %" PRIu64
                       " were deleted before the job reached them (wal.retain, wal.max_bytes); "
                       "what is left begins at %" PRIu64,
                       j->spec.next_index, ws.first_index - 1, ws.first_index);
    else
        (void)snprintf(reason, sizeof(reason), "%.400s",
                       e->text[0] != '\0' ? e->text : err_text(rc));
    return job_end(r, j, FLUSH_JOB_FAILED, reason);
}

static uint32_t rows_at_once(const struct replay_job *j)
{
    uint64_t rate = j->spec.rows_per_second, slice = rate / RATE_SLICES;
    if (rate == 0 || slice >= REPLAY_BATCH_ROWS)
        return REPLAY_BATCH_ROWS;
    return slice > 0 ? (uint32_t)slice : 1;
}

static int job_batch(struct replay *r, struct replay_job *j, struct err *e)
{
    struct job_read jr = {.next_index = j->spec.next_index,
                          .next_ordinal = j->spec.next_ordinal,
                          .rows_max = rows_at_once(j)};
    if (j->spec.ignore_unknown) {
        jr.catalog = r->options.catalog(r->options.ctx);
        jr.table = jr.catalog != NULL ? schema_catalog_find(jr.catalog, j->spec.into) : NULL;
    }
    replay_batch_reset(&r->batch);
    int rc = job_read(r, j, &jr, e);
    if (rc == 0)
        rc = job_commit(r, j, &jr);
    if (rc != 0)
        j->cursor_at = 0; /* what was read did not enter */
    schema_catalog_unref(jr.catalog);
    return rc;
}

enum replay_step replay_job_step(struct replay *r, struct replay_job *j, uint64_t now,
                                 uint64_t *next_ns)
{
    struct err e = {0};
    uint64_t rows = j->spec.rows, soon = now + REPLAY_AGAIN_MS * UINT64_C(1000000);
    uint64_t due = j->due_ns > now ? j->due_ns : soon;
    int rc = 0;
    if (j->ended_index != 0) {
        if (flush_shelf_index(r->options.flush) >= j->ended_index) {
            job_drop(r, j);
            return STEP_MORE;
        }
        *next_ns = soon < *next_ns ? soon : *next_ns;
        return STEP_WAIT;
    }
    if (j->spec.next_index > j->spec.to) {
        if (job_end(r, j, FLUSH_JOB_DONE, "") == STEP_DONE)
            return STEP_MORE;
        *next_ns = soon < *next_ns ? soon : *next_ns;
        return STEP_WAIT;
    }
    const char *cause, *waits_for = replay_blocked(r, j->spec.into);
    job_waits(r, j, waits_for);
    if (commit_accepting(r->options.commit, &cause))
        j->blocked_ns = 0;
    else
        job_yield(j, now);
    if (waits_for != NULL || now < j->due_ns) {
        *next_ns = due < *next_ns ? due : *next_ns;
        return STEP_WAIT;
    }
    if (j->speed_ns == 0) {
        (void)pthread_mutex_lock(&r->lock);
        j->speed_ns = now;
        j->speed_index = j->spec.next_index;
        (void)pthread_mutex_unlock(&r->lock);
    }
    if (j->cursor == NULL) {
        rc = wal_cursor_open(&j->cursor, r->options.wal, j->spec.next_index, &e);
        j->cursor_at = rc == 0 ? j->spec.next_index : 0;
    }
    if (rc == 0)
        rc = job_batch(r, j, &e);
    if (rc == WH_EAGAIN || rc == WH_ESTOPPED || rc == -ENOMEM || rc == WH_EEND) {
        *next_ns = soon < *next_ns ? soon : *next_ns;
        return STEP_WAIT;
    }
    if (rc != 0)
        return job_failed(r, j, rc, &e) == STEP_DONE ? STEP_MORE : STEP_WAIT;
    if (j->spec.rows_per_second > 0)
        j->due_ns = now + (j->spec.rows - rows) * NS_PER_SECOND / j->spec.rows_per_second;
    return STEP_MORE;
}

/* ---- as JSON ---- */

static void put_name(struct buf *out, const char *key, struct slice value)
{
    buf_printf(out, ",\"%s\":", key);
    buf_put_json_string(out, value);
}

static void put_time(struct buf *out, const char *key, uint64_t ns)
{
    buf_printf(out, ",\"%s\":\"", key);
    instant_put(out, ns);
    buf_put_u8(out, '"');
}

static uint64_t estimated_end(const struct replay_job *j, uint64_t mono, uint64_t wall)
{
    if (j->speed_ns == 0 || j->spec.next_index <= j->speed_index || mono <= j->speed_ns)
        return 0;
    double per_index = (double)(mono - j->speed_ns) / (double)(j->spec.next_index - j->speed_index);
    uint64_t left = j->spec.to + 1 > j->spec.next_index ? j->spec.to + 1 - j->spec.next_index : 0;
    return wall + (uint64_t)(per_index * (double)left);
}

static void put_job(struct buf *out, uint64_t number, const struct flush_job_spec *s,
                    const struct replay_job *live)
{
    bool waits = live != NULL && live->waits_for != NULL;
    buf_printf(out, "{\"id\":%" PRIu64, number);
    put_name(out, "table", s->table);
    put_name(out, "into", s->into);
    buf_printf(out,
               ",\"state\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"position\":%" PRIu64
               ",\"rows\":%" PRIu64 ",\"rows_per_second\":%" PRIu64,
               waits ? "waiting" : state_names[s->state], s->from, s->to, s->next_index, s->rows,
               s->rows_per_second);
    put_time(out, "started", s->started_ns);
    put_time(out, "changed", s->changed_ns);
    uint64_t end = live != NULL ? estimated_end(live, io_monotonic_ns(), io_realtime_ns()) : 0;
    if (end != 0)
        put_time(out, "estimated_end", end);
    if (waits)
        put_name(out, "reason", slice_str(live->waits_for));
    else if (s->reason.len > 0)
        put_name(out, "reason", s->reason);
    put_name(out, "by", s->who);
    buf_put_u8(out, '}');
}

struct job_text { /* one job's JSON in a buffer that all share */
    uint64_t number;
    size_t at, len;
};
struct job_texts {
    struct replay *r;
    struct buf text;
    struct job_text *jobs;
    size_t count, cap;
    bool failed;
};

static void text_add(struct job_texts *t, uint64_t number, const struct flush_job_spec *spec,
                     const struct replay_job *live)
{
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 16 : t->cap * 2;
        struct job_text *jobs = realloc(t->jobs, cap * sizeof(*jobs));
        if (jobs == NULL) {
            t->failed = true;
            return;
        }
        t->jobs = jobs;
        t->cap = cap;
    }
    size_t at = t->text.len;
    put_job(&t->text, number, spec, live);
    t->jobs[t->count++] = (struct job_text){number, at, t->text.len - at};
}

static bool text_stored(void *ctx, uint64_t number, struct slice value)
{
    struct job_texts *t = ctx;
    struct flush_job_spec spec;
    /* Jobs under way are shown as they are now, not as the store has them. */
    if (flush_job_get(value, &spec, NULL) == 0 && job_by_number(t->r, number) == NULL)
        text_add(t, number, &spec, NULL);
    return true;
}

static int newest_first(const void *x, const void *y)
{
    const struct job_text *a = x, *b = y;
    return a->number < b->number ? 1 : a->number > b->number ? -1 : 0;
}

int replay_jobs_json(struct replay *r, uint64_t job, struct buf *out)
{
    struct job_texts t = {.r = r};
    struct err e = {0};
    bool found = false;
    buf_init(&t.text, SIZE_MAX);
    (void)pthread_mutex_lock(&r->lock);
    int rc = store_job_each(r->options.store, text_stored, &t, &e);
    for (int i = 0; i < REPLAY_JOBS_MAX; i++)
        if (r->jobs[i].used)
            text_add(&t, r->jobs[i].number, &r->jobs[i].spec,
                     r->jobs[i].ended_index == 0 ? &r->jobs[i] : NULL);
    (void)pthread_mutex_unlock(&r->lock);
    if (rc == 0 && (t.failed || !buf_ok(&t.text)))
        rc = -ENOMEM;
    if (t.count > 0)
        qsort(t.jobs, t.count, sizeof(*t.jobs), newest_first);
    if (rc == 0 && job == 0)
        buf_put_u8(out, '[');
    for (size_t i = 0; i < t.count && rc == 0; i++) {
        if (job != 0 && t.jobs[i].number != job)
            continue;
        if (found)
            buf_put_u8(out, ',');
        buf_put(out, t.text.ptr + t.jobs[i].at, t.jobs[i].len);
        found = true;
    }
    if (rc == 0 && job == 0)
        buf_put_u8(out, ']');
    else if (rc == 0 && !found)
        rc = WH_ENOTFOUND;
    free(t.jobs);
    buf_fini(&t.text);
    return rc != 0 ? rc : buf_ok(out) ? 0 : -ENOMEM;
}
