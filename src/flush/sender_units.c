/* SPDX-License-Identifier: Apache-2.0 */
/* The units on a job's stack: built, sent, put back, cut in halves (doc/flush.md, "Sending"). */
#include "base/limits.h"
#include "base/magic.h"
#include "flush/sender.h"

/* Larger blocks go alone: well below what ClickHouse writes before it has the end, since its blocks
 * take more memory than ours. */
#define FLIGHT_ROWS_MAX  (CH_HELD_ROWS / 2)
#define FLIGHT_BYTES_MAX (CH_HELD_BYTES / 2)
#define AHEAD_ROWS_MIN   32 /* smaller units are built in no time */
#define DOUBT_REFUSALS   4  /* so often rows that may be stored are sent again as they are */

/* ---- the stack ---- */

static int unit_push(struct flush_job *job, const struct flush_rows *rows)
{
    if (rows->count == 0)
        return 0;
    int rc = flush_rows_reserve(&job->units, &job->unit_cap, job->unit_count + 1);
    if (rc == 0)
        rc = flush_rows_copy(&job->units[job->unit_count], rows);
    if (rc == 0)
        job->unit_count++;
    return rc;
}

/* ---- rows that may be stored ---- */

static bool is_refusal(const struct flush_job *job, enum ch_outcome outcome)
{
    return outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS ||
           (outcome == CH_SCHEMA && job->give_up) || (outcome == CH_BUG && job->as_data);
}

static bool doubt_has(const struct flush_doubt *d, uint64_t digest)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->digests[i] == digest)
            return true;
    return false;
}

static void doubt_add(struct flush_doubt *d, const struct flush_rows *rows)
{
    uint64_t digest = flush_rows_digest(rows);
    if (doubt_has(d, digest))
        return;
    d->refusals = 0;
    if (d->count < sizeof(d->digests) / sizeof(d->digests[0])) {
        d->digests[d->count++] = digest;
    } else {
        d->all = true;
        d->halves = 0;
    }
}

/* Of a plan from before the start only what was cut since was surely not sent then. */
static bool doubt_of_all(const struct flush_doubt *d, uint64_t digest)
{
    for (uint32_t i = 0; i < d->halves; i++)
        if (d->half[i] == digest)
            return false;
    return d->all;
}

/* Without room they are in doubt, and asked for again some times more than they need. */
static void doubt_half(struct flush_doubt *d, const struct flush_rows *rows)
{
    if (d->halves < FLUSH_DOUBT_HALVES)
        d->half[d->halves++] = flush_rows_digest(rows);
}

static uint32_t digests_drop(uint64_t *digests, uint32_t count, uint64_t digest)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (digests[i] != digest)
            digests[kept++] = digests[i];
    return kept;
}

/* These rows have come to their end. */
static void doubt_drop(struct flush_doubt *d, uint64_t digest)
{
    d->count = digests_drop(d->digests, d->count, digest);
    d->halves = digests_drop(d->half, d->halves, digest);
}

/* Note what an insert's end says of its rows; true when it is a refusal that does not count yet:
 * the rows may be stored from an earlier time, and then halves of them, under tokens of their own,
 * would be stored again. A refusal that passes (the schema was changed, and is changed back) costs
 * a few attempts; one that stays counts in the end. */
static bool doubt_take(struct flush_job *job, const struct flush_rows *rows,
                       enum ch_outcome outcome, const struct ch_error *ce)
{
    struct flush_doubt *d = &job->doubt;
    uint64_t digest = flush_rows_digest(rows);
    bool refused = is_refusal(job, outcome);
    if (outcome == CH_UNKNOWN_FATE)
        d->refusals = 0; /* another time at which they may have been stored */
    if (outcome == CH_UNKNOWN_FATE || outcome == CH_UNAVAILABLE ||
        (outcome == CH_BUG && !job->as_data) || (outcome != CH_OK && ce->from_view))
        doubt_add(d, rows);
    if (refused && (doubt_has(d, digest) || doubt_of_all(d, digest)) &&
        d->refusals < DOUBT_REFUSALS) {
        d->refusals++;
        return true;
    }
    if (outcome == CH_OK || refused) { /* what else is said says nothing of an earlier time */
        doubt_drop(d, digest);
        d->refusals = 0;
    }
    return false;
}

/* These rows were sent together and refused for their data. */
static int group_refused(struct flush_sender *s, const struct flush_rows *rows)
{
    if (rows->count == 1)
        return sender_dead_rows(s, rows);
    if (flush_rows_split(rows, &s->left, &s->right) != 0 || unit_push(&s->job, &s->right) != 0)
        return sender_retry_memory(s);
    if (unit_push(&s->job, &s->left) != 0) {
        s->job.unit_count--; /* all of them go back: not a half twice, under another token */
        return sender_retry_memory(s);
    }
    doubt_half(&s->job.doubt, &s->left);
    doubt_half(&s->job.doubt, &s->right);
    return 0;
}

/* token is filled, and pointed to. */
static struct flush_insert insert_of(const struct flush_sender *s, const struct flush_group *g,
                                     const struct flush_rows *rows, char token[FLUSH_TOKEN_CAP])
{
    const struct flush_job *job = &s->job;
    flush_token_of(job, rows, token);
    return (struct flush_insert){.name = job->plan.table,
                                 .table = s->source.table,
                                 .catalog = s->source.catalog,
                                 .group = g,
                                 .lines = buf_slice(&s->build->body),
                                 .row_count = rows->count,
                                 .token = token,
                                 .give_up = job->give_up,
                                 .as_data = job->as_data,
                                 .options = s->options.flush};
}

/* Send one group (g NULL: the lines in build.body). 0: stored, or cut into halves, or
 * dead-lettered. */
static int group_send(struct flush_sender *s, const struct flush_group *g,
                      const struct flush_rows *rows)
{
    struct flush_job *job = &s->job;
    struct ch_error ce = {0};
    char token[FLUSH_TOKEN_CAP];
    must(!s->flight.busy);
    struct flush_insert in = insert_of(s, g, rows, token);
    enum ch_outcome outcome = flush_client_insert(s->client, &in, &ce);
    bool doubted = doubt_take(job, rows, outcome, &ce);
    if (outcome == CH_OK) {
        job->stored += rows->count;
        s->unsaved = true;
        return 0;
    }
    int step = sender_retry(s, outcome, ce.code, ce.text);
    if (outcome == CH_SCHEMA || doubted)
        s->options.flush->request_refresh(s->options.flush->ctx);
    if (doubted || !is_refusal(job, outcome))
        return step;
    if (outcome == CH_SCHEMA)
        return sender_dead_rows(s, rows);
    s->split = true;
    s->unsaved = true;
    return group_refused(s, rows);
}

/* Send these rows as JSONEachRow. */
static int lines_send(struct flush_sender *s, const struct flush_rows *rows)
{
    struct err e = {0};
    int rc = flush_build_lines(s->build, &s->source, rows, &e);
    return rc != 0 ? sender_build_failed(s, rc, &e) : group_send(s, NULL, rows);
}

/* The built groups, one after the other. What is left when one meets trouble goes back on the
 * stack. */
static int groups_send(struct flush_sender *s)
{
    uint32_t i;
    int rc = 0;
    for (i = 0; i < s->build->group_count && rc == 0; i++) {
        const struct flush_group *g = s->build->groups[i];
        if (g->rows.count > 0)
            rc = g->block != NULL ? group_send(s, g, &g->rows) : lines_send(s, &g->rows);
    }
    if (rc == STEP_RETRY)
        for (uint32_t k = i - 1; k < s->build->group_count; k++)
            if (unit_push(&s->job, &s->build->groups[k]->rows) != 0)
                return STEP_LOG; /* without a progress entry: the stack is not whole */
    return rc;
}

/* Put the unit back whole, after trouble before any of it was sent. */
static int unit_back(struct flush_sender *s, int step)
{
    return unit_push(&s->job, &s->unit) == 0 ? step : STEP_LOG;
}

/* ---- two INSERTs at a time ----
 *
 *   one      ─ block ─ end ┄┄ ClickHouse writes the part ┄┄ verdict         ─ block ─ end ┄┄ …
 *   other                    ─ block ──────────────────────────── end ┄┄┄ verdict
 *
 * The end waits for the verdict on the INSERT before, so parts come to be in the order of the log
 * (the last row of a key wins in a ReplacingMergeTree), and after trouble with that one this one is
 * cancelled. Only the good case goes so: a unit that is refused is asked for again by itself, and
 * what is said then counts. */

/* A verdict other than OK on rows in flight. They are on the stack again. */
static int flight_failed(struct flush_sender *s, const struct flush_rows *rows,
                         enum ch_outcome outcome, const struct ch_error *ce)
{
    struct flush_job *job = &s->job;
    s->alone = true;
    if (unit_push(job, rows) != 0)
        return STEP_LOG;
    if (is_refusal(job, outcome)) {
        if (ce->from_view)
            doubt_add(&job->doubt, rows);
        return 0;
    }
    (void)doubt_take(job, rows, outcome, ce);
    if (outcome == CH_SCHEMA)
        s->options.flush->request_refresh(s->options.flush->ctx);
    return sender_retry(s, outcome, ce->code, ce->text);
}

int sender_land(struct flush_sender *s, const struct flush_rows *at_hand, bool *stored)
{
    struct flush_job *job = &s->job;
    struct ch_error ce = {0};
    *stored = true;
    if (!s->flight.busy)
        return 0;
    s->flight.busy = false;
    struct flush_insert in = {.name = job->plan.table,
                              .table = s->source.table,
                              .row_count = s->flight.rows.count,
                              .options = s->options.flush};
    enum ch_outcome outcome = flush_client_wait(s->client, &in, &ce);
    *stored = outcome == CH_OK;
    if (!*stored && at_hand != NULL && unit_push(job, at_hand) != 0)
        return STEP_LOG;
    if (!*stored)
        return flight_failed(s, &s->flight.rows, outcome, &ce);
    job->stored += s->flight.rows.count;
    s->unsaved = true;
    return 0;
}

/* May the unit that is built go while another is under way, or begin to? */
static bool may_fly(struct flush_sender *s)
{
    const struct flush_job *job = &s->job;
    const struct flush_build *b = s->build;
    struct ch_error ce;
    bool plain = job->overlap && !s->alone && !job->give_up && !job->as_data &&
                 job->doubt.count == 0 && !job->doubt.all && s->source.table->dedup_window > 0;
    if (!plain || b->group_count != 1 || b->rest.count > 0 || b->groups[0]->block == NULL ||
        b->groups[0]->rows.count == 0 || b->groups[0]->rows.count > FLIGHT_ROWS_MAX ||
        ch_block_bytes(b->groups[0]->block) > FLIGHT_BYTES_MAX)
        return false;
    if (!s->flight.busy)
        return job->unit_count > 0;
    if (!s->second_ready)
        s->second_ready = flush_client_connect(s->second, job->target, &ce) == CH_OK;
    s->alone = !s->second_ready;
    return s->second_ready;
}

/* A block that was not sent whole. One connection may be all that ClickHouse allows us, and then
 * only what it says without the other one counts. */
static int flight_refused(struct flush_sender *s, const struct flush_rows *rows,
                          enum ch_outcome outcome, const struct ch_error *ce)
{
    if (outcome == CH_UNKNOWN_FATE)
        return flight_failed(s, rows, outcome, ce);
    s->alone = true;
    return unit_push(&s->job, rows) == 0 ? 0 : STEP_LOG;
}

/* Send the built unit; end it when the one in flight is stored. */
static int unit_fly(struct flush_sender *s)
{
    const struct flush_rows *rows = &s->build->groups[0]->rows;
    struct flush_client *c = s->flight.busy ? s->second : s->client;
    struct ch_error ce = {0};
    char token[FLUSH_TOKEN_CAP];
    struct flush_insert in = insert_of(s, s->build->groups[0], rows, token);
    if (flush_rows_copy(&s->flight.next, rows) != 0)
        return unit_push(&s->job, rows) == 0 ? sender_retry_memory(s) : STEP_LOG;
    enum ch_outcome outcome = flush_client_send(c, &in, s->flight.busy, &ce);
    if (s->flight.busy) {
        bool stored;
        int rc = sender_land(s, rows, &stored);
        if (!stored && outcome == CH_OK)
            outcome = flush_client_cancel(c, &in);
        if (!stored && outcome == CH_UNKNOWN_FATE)
            doubt_add(&s->job.doubt, rows);
        if (!stored)
            return rc;
        s->second = s->client;
        s->client = c;
    }
    if (outcome != CH_OK)
        return flight_refused(s, rows, outcome, &ce);
    outcome = flush_client_end(c, &in, &ce);
    if (outcome != CH_OK)
        return flight_failed(s, rows, outcome, &ce);
    struct flush_rows kept = s->flight.rows;
    s->flight.rows = s->flight.next;
    s->flight.next = kept;
    s->flight.busy = true;
    return 0;
}

/* The unit that comes next is built while this one is sent, and a job's second one while its first
 * is built. */
static void ahead_begin(struct flush_sender *s)
{
    const struct flush_job *job = &s->job;
    if (job->unit_count == 0 || job->units[job->unit_count - 1].count < AHEAD_ROWS_MIN)
        return;
    if (s->ahead == NULL && (s->ahead = flush_ahead_new()) == NULL)
        return;
    if (flush_ahead_busy(s->ahead))
        return;
    struct flush_source src = s->source;
    src.refuse = sender_refused_ahead;
    s->ahead_dead.count = 0;
    (void)flush_ahead_start(s->ahead, s->other, &src, &job->units[job->unit_count - 1]);
}

/* Is the unit at hand built already? Then it is in s->build, its refused rows in the payload. */
static bool ahead_take(struct flush_sender *s)
{
    if (s->ahead == NULL || !flush_ahead_busy(s->ahead) ||
        flush_ahead_wait(s->ahead, &s->unit, &s->mark) != 0)
        return false;
    struct flush_build *built = s->other;
    s->other = s->build;
    s->build = built;
    s->dead = s->ahead_dead;
    buf_reset(&s->proposal.payload);
    if (s->dead.count > 0)
        buf_put_slice(&s->proposal.payload, buf_slice(&s->ahead_payload));
    return true;
}

void sender_ahead_end(struct flush_sender *s)
{
    if (s->ahead != NULL && flush_ahead_busy(s->ahead))
        (void)flush_ahead_wait(s->ahead, &s->unit, &s->mark);
}

/* In halves, which a progress entry knows before any of it is sent. None of it was sent whole under
 * this schema: what is sent at a time has passed the same limit. */
static int unit_too_large(struct flush_sender *s)
{
    const struct flush_rows *todo = &s->build->todo;
    must(todo->count > 1);
    int rc = sender_dead_commit(s);
    if (rc != 0)
        return rc;
    s->split = true;
    s->unsaved = true;
    rc = group_refused(s, todo);
    return rc == STEP_RETRY && unit_push(&s->job, todo) != 0 ? STEP_LOG : rc;
}

static int unit_run_native(struct flush_sender *s)
{
    struct err e = {0};
    bool stored = true;
    int rc = 0;
    bool built = ahead_take(s), flies = built && may_fly(s);
    /* Before letters are committed: until then the unit can go back whole. */
    if (!flies)
        rc = sender_land(s, &s->unit, &stored);
    if (rc != 0 || !stored)
        return rc;
    if (!built) {
        ahead_begin(s);
        rc = flush_build_blocks(s->build, &s->source, &s->unit, &e);
        if (rc == WH_ELIMIT)
            return unit_too_large(s);
        if (rc != 0)
            return unit_back(s, sender_build_failed(s, rc, &e));
        flies = may_fly(s);
    }
    rc = sender_dead_commit(s);
    if (rc != 0)
        return rc;
    if (unit_push(&s->job, &s->build->rest) != 0)
        return STEP_LOG;
    ahead_begin(s);
    return flies ? unit_fly(s) : groups_send(s);
}

static int unit_run_http(struct flush_sender *s)
{
    int rc = lines_send(s, &s->unit);
    return rc == STEP_RETRY ? unit_back(s, rc) : rc;
}

int sender_unit(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    if (flush_rows_copy(&s->unit, &job->units[job->unit_count - 1]) != 0)
        return sender_retry_memory(s);
    job->unit_count--;
    if (s->unit.count == 0)
        return 0;
    buf_reset(&s->proposal.payload);
    s->dead.count = 0;
    if (s->source.table == NULL) {
        int rc = sender_dead_rows(s, &s->unit);
        return rc == STEP_RETRY ? unit_back(s, rc) : rc;
    }
    return s->source.table->native ? unit_run_native(s) : unit_run_http(s);
}
