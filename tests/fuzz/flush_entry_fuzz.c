/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile payloads of the flusher's log entries: read by every decoder, and folded into a ledger
 * that has an open plan which they may hit. */
#include "flush/ledger.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct flush_rules rules = {5, 1000, 1000, 1, 500};
    struct slice in = {(const char *)data, size};
    struct flush_ledger *l = flush_ledger_new(&rules);
    struct flush_plan plan = {SLICE_LIT("t"), SLICE_LIT("k"), 1, 1, 10, 0, 10};
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
