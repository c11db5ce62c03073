/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger with a clock of our own: when plans are cut, what a replay makes of them. */
#include "flush/ledger.h"

#include "tests/lib/tap.h"

#include <stdlib.h>

#define MS 1000000u
#define T0 (1000000u * (uint64_t)MS) /* any time but 0 */

static const struct flush_rules rules = {.interval_ns = 5000 * (uint64_t)MS,
                                         .max_rows = 8000,
                                         .max_bytes = 800000,
                                         .spacing_ns = 1000 * (uint64_t)MS,
                                         .eager_rows = 500};

static void events(struct flush_ledger *l, uint64_t index, const char *table, uint64_t rows,
                   uint64_t now)
{
    if (flush_ledger_events(l, index, slice_str(table), rows, rows * 10, index, now) != 0)
        abort();
}

static struct flush_table *due(struct flush_ledger *l, uint64_t now)
{
    uint64_t next;
    return flush_ledger_due(l, now, &next);
}

static uint64_t next_due(struct flush_ledger *l, uint64_t now)
{
    uint64_t next;
    (void)flush_ledger_due(l, now, &next);
    return next;
}

static int plan_at(struct flush_ledger *l, uint64_t index, struct flush_plan *p, uint64_t now)
{
    struct flush_table *t;
    p->token = SLICE_LIT("token");
    return flush_ledger_plan(l, index, p, now, &t);
}

static int done_at(struct flush_ledger *l, uint64_t plan_index, const struct flush_plan *p)
{
    struct flush_table *t;
    struct flush_done d = {.table = p->table,
                           .plan_index = plan_index,
                           .first = p->first,
                           .last = p->last};
    return flush_ledger_done(l, &d, &t);
}

static void run(struct flush_ledger *l, struct flush_table *t)
{
    flush_ledger_ready(l, t);
    flush_ledger_running(l, t);
}

static void test_triggers(void)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan p = {0};
    events(l, 1, "a", 10, T0);
    ok(due(l, T0) == NULL, "ten rows wait");
    is_u64(next_due(l, T0), T0 + rules.interval_ns, "for the interval");
    ok(due(l, T0 + rules.interval_ns) != NULL, "then they are due");
    events(l, 2, "a", 490, T0 + 1);
    struct flush_table *t = due(l, T0 + 1);
    ok(t != NULL && t->phase == FLUSH_IDLE, "500 rows do not wait");
    flush_ledger_cut(l, t, T0 + 1, &p);
    ok(p.first == 1 && p.last == 2 && p.rows == 500 && p.bytes == 5000, "the plan has them");
    ok(due(l, UINT64_MAX - 1) == NULL, "nothing is due while the plan is on its way");
    events(l, 3, "a", 600, T0 + 2);
    is_u64(plan_at(l, 4, &p, T0 + 2), 0, "the plan is committed");
    ok(due(l, T0 + 2) == t && t->phase == FLUSH_WAITING, "its job is due");
    run(l, t);
    events(l, 5, "a", 600, T0 + 3);
    ok(due(l, T0 + rules.interval_ns * 2) == NULL, "an insert in flight: rows gather");
    is_u64(done_at(l, 4, &p), 0, "done");
    ok(t->open == NULL && due(l, T0 + 3) == NULL, "but the sender still has the job");
    flush_ledger_ended(l, t, 0);
    is_u64(next_due(l, T0 + 3), T0 + 1 + rules.spacing_ns, "the next cut keeps its distance");
    events(l, 6, "a", 7000, T0 + 4);
    is_u64(next_due(l, T0 + 4), T0 + 1 + rules.spacing_ns, "also at max_rows, so soon after it");
    for (uint64_t i = 7; i <= 10; i++)
        events(l, i, "a", 7000, T0 + 4);
    ok(due(l, T0 + 4) == t, "unless there are four times max_rows");
    flush_ledger_cut(l, t, T0 + 4, &p);
    ok(p.first == 3 && p.last == 9 && p.rows == 29200, "runs are taken whole, up to that");
    flush_ledger_cut_failed(l, t, T0 + 900 * MS);
    is_u64(next_due(l, T0 + 5), T0 + 900 * MS, "a refused plan is proposed again later");
    struct flush_totals s = flush_ledger_totals(l);
    ok(s.rows == 36200 && s.open_plans == 0, "sums");
    flush_ledger_free(l);
}

static void test_backlog(void)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan p = {0};
    for (uint64_t i = 1; i <= 64; i++)
        events(l, i, "a", 1000, T0);
    struct flush_table *t = due(l, T0);
    flush_ledger_cut(l, t, T0, &p);
    ok(p.rows == 32000 && p.piece_rows == 0, "eight times max_rows: a burst, in one block");
    flush_ledger_cut_failed(l, t, 0);
    events(l, 65, "a", 1000, T0);
    flush_ledger_cut(l, t, T0, &p);
    ok(p.first == 1 && p.last == 65 && p.rows == 65000, "more than that is a backlog");
    is_u64(p.piece_rows, 16000, "which goes in pieces of twice max_rows");
    flush_ledger_cut_failed(l, t, 0);
    for (uint64_t i = 66; i <= 300; i++)
        events(l, i, "a", 1000, T0);
    flush_ledger_cut(l, t, T0, &p);
    ok(p.rows == 128000 && p.piece_rows == 16000, "at most sixteen times max_rows are a plan");
    is_u64(plan_at(l, 301, &p, T0), 0, "it is committed");
    ok(t->open->piece_rows == 16000, "and its pieces with it");
    flush_ledger_free(l);

    l = flush_ledger_new(&rules);
    for (uint64_t i = 1; i <= 20; i++)
        if (flush_ledger_events(l, i, SLICE_LIT("a"), 100, 400000, i, T0) != 0)
            abort();
    flush_ledger_cut(l, due(l, T0), T0, &p);
    ok(p.rows == 2000 && p.bytes == 8000000, "a backlog of large rows");
    is_u64(p.piece_rows, 400, "pieces of about twice max_bytes");
    flush_ledger_free(l);
}

static void test_void_plans(void)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan p = {0}, q;
    events(l, 1, "a", 600, T0);
    struct flush_table *t = due(l, T0);
    flush_ledger_cut(l, t, T0, &p);
    q = p;
    is_u64(plan_at(l, 2, &p, T0), 0, "a plan");
    is_u64(plan_at(l, 3, &q, T0), 1, "the same again is void");
    run(l, t);
    is_u64(done_at(l, 2, &p), 0, "done");
    is_u64(done_at(l, 2, &p), 1, "done twice is nothing");
    flush_ledger_ended(l, t, 0);
    is_u64(plan_at(l, 9, &q, T0), 1, "a plan of what is flushed is void");
    ok(t->phase == FLUSH_IDLE && t->open == NULL && due(l, T0) == NULL, "and changes nothing");
    q.first = q.last = 20;
    is_u64(plan_at(l, 20, &q, T0), 1, "a plan of its own future is void");
    flush_ledger_free(l);
}

static void test_progress(void)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan p = {0};
    events(l, 1, "a", 600, T0);
    struct flush_table *t = due(l, T0);
    flush_ledger_cut(l, t, T0, &p);
    (void)plan_at(l, 2, &p, T0);
    struct buf b;
    buf_init(&b, SIZE_MAX);
    struct flush_dead dead = {.table = SLICE_LIT("a"), .plan_index = 2};
    struct flush_dead_item item = {.index = 1, .ordinal = 7, .row = 7};
    flush_dead_put_head(&b, &dead);
    flush_dead_put_item(&b, &item);
    flush_dead_set_count(&b, 1);
    (void)!flush_dead_get(buf_slice(&b), &dead, NULL);
    is_u64(flush_ledger_dead(l, &dead), 0, "a dead letter");
    is_u64(flush_ledger_dead(l, &dead), 0, "read twice");
    ok(t->open->dead.count == 1 && flush_rows_has(&t->open->dead, 7), "is one dead row");
    struct flush_rows units[2];
    flush_rows_init(&units[0]);
    flush_rows_init(&units[1]);
    (void)!flush_rows_append(&units[0], 0, 300);
    (void)!flush_rows_append(&units[1], 300, 600);
    struct buf c;
    struct flush_progress g;
    buf_init(&c, SIZE_MAX);
    flush_progress_put(&c, SLICE_LIT("a"), 2, units, 2);
    (void)!flush_progress_get(buf_slice(&c), &g, NULL);
    is_u64(flush_ledger_progress(l, &g), 0, "progress");
    ok(t->open->unit_count == 2 && t->open->units[0].count == 299 && t->open->units[1].count == 300,
       "its units without the dead row");
    g.plan_index = 3;
    is_u64(flush_ledger_progress(l, &g), 1, "progress of another plan is nothing");
    g.plan_index = 2;
    g.units.len -= 1;
    is_u64(flush_ledger_progress(l, &g), 1, "hostile units change nothing");
    ok(t->open->unit_count == 2 && t->open->units[1].count == 300, "really");
    flush_rows_fini(&units[0]);
    flush_rows_fini(&units[1]);
    buf_fini(&b);
    buf_fini(&c);
    flush_ledger_free(l);
}

/* A random history is folded live; then each suffix that a restart may begin with is folded again,
 * and must come to the same pending rows, open plans and low mark. The log is kept as an array;
 * recounts are answered from it. */
#define HISTORY 4000

struct item {
    int type; /* 1 events, 2 plan, 3 done */
    uint32_t table, rows;
    struct flush_plan plan;
    uint64_t plan_index;
};
static struct item history[HISTORY + 2];
static const char *const names[] = {"a", "bb", "ccc"};

static void answer_recount(struct flush_ledger *l, struct flush_table *t)
{
    if (t == NULL || !t->recount)
        return;
    uint64_t rows = 0;
    for (uint64_t i = flush_table_oldest(t)->first; i <= flush_table_oldest(t)->last; i++)
        if (history[i].type == 1 && slice_eq_str(flush_table_name(t), names[history[i].table]))
            rows += history[i].rows;
    flush_ledger_recount(l, t, rows, rows * 10);
}

static void fold(struct flush_ledger *l, uint64_t index, uint64_t now)
{
    struct item *it = &history[index];
    struct flush_table *t = NULL;
    if (it->type == 1)
        events(l, index, names[it->table], it->rows, now);
    else if (it->type == 2)
        (void)!flush_ledger_plan(l, index, &it->plan, now, &t);
    else if (it->type == 3) {
        struct flush_done d = {.table = it->plan.table,
                               .plan_index = it->plan_index,
                               .first = it->plan.first,
                               .last = it->plan.last};
        (void)!flush_ledger_done(l, &d, &t);
    }
    answer_recount(l, t);
}

static void test_replay(unsigned seed)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan pending[3] = {0};
    uint64_t open_at[3] = {0}, lows[HISTORY + 1], through[HISTORY + 1][3];
    struct flush_totals sums;
    bool proposed[3] = {false};
    srand(seed);
    memset(history, 0, sizeof(history));
    for (uint64_t i = 1; i <= HISTORY; i++) {
        uint32_t k = (uint32_t)rand() % 3;
        struct flush_table *t = flush_ledger_table(l, slice_str(names[k]));
        if (proposed[k] && rand() % 3 == 0) {
            history[i] = (struct item){.type = 2, .plan = pending[k]};
            proposed[k] = false;
            open_at[k] = i;
        } else if (open_at[k] != 0 && rand() % 4 == 0) {
            history[i] = (struct item){.type = 3, .plan = pending[k], .plan_index = open_at[k]};
            open_at[k] = 0;
        } else {
            history[i] = (struct item){.type = 1, .table = k, .rows = 1 + (uint32_t)rand() % 30};
        }
        fold(l, i, T0);
        if (t->phase == FLUSH_IDLE && t->rows > 0 && !proposed[k] && rand() % 8 == 0) {
            pending[k] = (struct flush_plan){0};
            flush_ledger_cut(l, t, T0, &pending[k]);
            pending[k].token = SLICE_LIT("token");
            proposed[k] = true;
        }
        lows[i] = flush_ledger_low(l, i + 1);
        for (int n = 0; n < 3; n++)
            through[i][n] = flush_ledger_table(l, slice_str(names[n]))->through;
    }
    sums = flush_ledger_totals(l);
    bool good = true;
    for (uint64_t stored = 0; stored <= HISTORY && good; stored += 97) {
        for (int lost = 0; lost < 2 && good; lost++) { /* with positions, and without the store */
            struct flush_ledger *m = flush_ledger_new(&rules);
            uint64_t low = stored == 0 ? 1 : lows[stored];
            for (int n = 0; n < 3 && !lost && stored > 0; n++)
                (void)!flush_ledger_position(m, slice_str(names[n]), through[stored][n]);
            for (uint64_t i = low; i <= HISTORY; i++)
                fold(m, i, 0);
            struct flush_totals got = flush_ledger_totals(m);
            good = got.rows == sums.rows && got.bytes == sums.bytes &&
                   got.open_plans == sums.open_plans &&
                   flush_ledger_low(m, HISTORY + 1) <= flush_ledger_low(l, HISTORY + 1);
            if (!good)
                printf("# seed %u stored %" PRIu64 " lost %d: rows %" PRIu64 "/%" PRIu64
                       " plans %" PRIu64 "/%" PRIu64 " low %" PRIu64 "/%" PRIu64 "\n",
                       seed, stored, lost, got.rows, sums.rows, got.open_plans, sums.open_plans,
                       flush_ledger_low(m, HISTORY + 1), flush_ledger_low(l, HISTORY + 1));
            flush_ledger_free(m);
        }
    }
    ok(good, "replay from any stored state gives the same ledger (seed %u)", seed);
    flush_ledger_free(l);
}

static void test_many_tables(void)
{
    struct flush_ledger *l = flush_ledger_new(&rules);
    char name[32];
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "table_%u", i);
        events(l, i + 1, name, 1, T0 + i);
    }
    bool ordered = true;
    for (unsigned i = 0; i < 20000; i++) {
        struct flush_table *t = due(l, UINT64_MAX - 1);
        struct flush_plan p = {0};
        (void)snprintf(name, sizeof(name), "table_%u", i);
        ordered = ordered && t != NULL && slice_eq_str(flush_table_name(t), name);
        flush_ledger_cut(l, t, T0, &p);
    }
    ok(ordered && due(l, UINT64_MAX - 1) == NULL,
       "20,000 tables come up in the order of their times");
    for (unsigned i = 0; i < 1000000; i++)
        events(l, 20001 + i, "busy", 1, T0);
    struct flush_table *t = flush_ledger_table(l, SLICE_LIT("busy"));
    ok(t->rows == 1000000 && t->run_count <= 1001, "a million entries wait in 1,000 runs");
    flush_ledger_free(l);
}

static void test_backoff(void)
{
    uint64_t lo = flush_backoff_ns(1000, 30000, 1, 0), hi = 0;
    for (uint64_t r = 0; r < 1000; r++) {
        uint64_t ns = flush_backoff_ns(1000, 30000, 60, r * 0x9e3779b97f4a7c15u);
        hi = ns > hi ? ns : hi;
    }
    is_u64(lo, 750 * MS, "backoff begins at the least wait, minus jitter");
    ok(hi > 30000 * (uint64_t)MS && hi <= 37500 * (uint64_t)MS, "and ends at the longest");
    is_u64(flush_backoff_ns(1000, 30000, 3, 0), 3000 * (uint64_t)MS, "doubling");
}

int main(void)
{
    test_triggers();
    test_backlog();
    test_void_plans();
    test_progress();
    for (unsigned seed = 1; seed <= 5; seed++)
        test_replay(seed);
    test_many_tables();
    test_backoff();
    return tap_done();
}
