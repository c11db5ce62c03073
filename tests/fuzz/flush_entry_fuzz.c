/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile payloads of the flusher's log entries: read by every decoder, and folded into a ledger
 * that has an open plan which they may hit. */
#include "flush/ledger.h"
#include "flush/shelf.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Origins and control entries: every decoder, and what the planner notes of them. */
static void read_again(struct slice in)
{
    struct flush_origin o;
    struct flush_edit edit;
    struct flush_purge purge;
    struct flush_job_spec job;
    struct flush_job_end end;
    struct flush_shelf shelf;
    struct wal_view v = {.type = WAL_CONTROL, .index = 9, .time_ns = 9, .payload = in};
    uint64_t sum = 0;
    if (flush_origin_get(in, &o, NULL) == 0)
        for (uint32_t i = 0; i < o.count; i++)
            sum += flush_origin_id(&o, i).index;
    if (flush_purge_get(in, &purge, NULL) == 0)
        for (uint32_t i = 0; i < purge.count; i++)
            sum += flush_purge_id(&purge, i).ordinal;
    if (flush_edit_get(in, &edit, NULL) == 0)
        for (size_t i = 0; i < edit.record.len; i++)
            sum += (uint8_t)edit.record.ptr[i];
    if (flush_job_get(in, &job, NULL) == 0)
        for (size_t i = 0; i < job.reason.len; i++)
            sum += (uint8_t)job.reason.ptr[i];
    if (flush_job_end_get(in, &end, NULL) == 0)
        for (size_t i = 0; i < end.reason.len; i++)
            sum += (uint8_t)end.reason.ptr[i];
    flush_shelf_init(&shelf, &(struct flush_fold){0});
    if (flush_shelf_control(&shelf, &v) != 0 || flush_shelf_dead(&shelf, &v) != 0)
        abort();
    flush_shelf_fini(&shelf);
    static volatile uint64_t sink;
    sink = sum;
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_again((struct slice){(const char *)data, size});
    static const struct flush_rules rules = {5, 1000, 1000, 1, 500, 0};
    struct slice in = {(const char *)data, size};
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan plan = {SLICE_LIT("t"), SLICE_LIT("k"), 1, 1, 10, 0, 10, 0};
    struct flush_progress progress;
    struct flush_done done;
    struct flush_dead dead;
    struct flush_table *t;
    enum flush_plan_kind kind;
    if (l == NULL || flush_ledger_events(l, 1, SLICE_LIT("t"), 10, 10, 1, 1) != 0 ||
        flush_ledger_plan(l, 2, &plan, 1, &t) != 0)
        abort();
    if (flush_plan_kind(in, &kind, NULL) == 0 && kind == FLUSH_KIND_PROGRESS &&
        flush_progress_get(in, &progress, NULL) == 0)
        (void)!flush_ledger_progress(l, &progress);
    if (flush_dead_get(in, &dead, NULL) == 0)
        (void)!flush_ledger_dead(l, &dead);
    if (flush_done_get(in, &done, NULL) == 0)
        (void)!flush_ledger_done(l, &done, &t);
    if (flush_plan_get(in, &plan, NULL) == 0)
        (void)!flush_ledger_plan(l, 1000, &plan, 1, &t);
    flush_ledger_free(l);
    return 0;
}
