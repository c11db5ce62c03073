/* SPDX-License-Identifier: Apache-2.0 */
/* Row sets and the payloads of the flusher's log entries. */
#include "flush/entry.h"
#include "flush/origin.h"

#include "tests/lib/tap.h"

#include <stdlib.h>

static void rows_of(struct flush_rows *r, const char *bits)
{
    flush_rows_reset(r);
    for (uint32_t i = 0; bits[i] != '\0'; i++)
        if (bits[i] == '1')
            (void)!flush_rows_append(r, i, i + 1);
}

static bool rows_are(const struct flush_rows *r, const char *bits)
{
    uint32_t count = 0;
    struct flush_rows_walk w = {.rows = r};
    for (uint32_t i = 0; bits[i] != '\0'; i++) {
        count += bits[i] == '1';
        if (flush_rows_has(r, i) != (bits[i] == '1') ||
            flush_rows_walk_has(&w, i) != (bits[i] == '1'))
            return false;
    }
    return count == r->count;
}

static void test_rows(void)
{
    struct flush_rows a, b, c, d;
    flush_rows_init(&a);
    flush_rows_init(&b);
    flush_rows_init(&c);
    flush_rows_init(&d);
    rows_of(&a, "1110011101");
    ok(a.range_count == 3 && rows_are(&a, "1110011101"), "ranges join");
    rows_of(&b, "0100010011");
    ok(flush_rows_minus(&c, &a, &b) == 0 && rows_are(&c, "1010001100"), "minus");
    rows_of(&b, "1111111111");
    ok(flush_rows_minus(&c, &a, &b) == 0 && c.count == 0, "minus all");
    ok(flush_rows_split(&a, &b, &c) == 0 && rows_are(&b, "1110000000") &&
           rows_are(&c, "0000011101"),
       "halves");
    ok(flush_rows_digest(&a) != flush_rows_digest(&b), "other rows, other digest");
    is_u64(flush_rows_digest(&a), 0xf4cb1a76f97aac14u, "the digest is part of tokens: it stays");
    bool good = true;
    srand(1);
    for (int round = 0; round < 300 && good; round++) { /* insert against a plain array */
        char bits[65] = {0};
        memset(bits, '0', 64);
        flush_rows_reset(&d);
        for (int i = 0; i < 40; i++) {
            uint32_t row = (uint32_t)rand() % 64;
            bits[row] = '1';
            good = good && flush_rows_insert(&d, row) == 0;
        }
        rows_of(&a, bits);
        good = good && rows_are(&d, bits) && flush_rows_equal(&a, &d);
        good = good && flush_rows_split(&d, &b, &c) == 0 && b.count + c.count == d.count &&
               flush_rows_minus(&a, &d, &b) == 0 && flush_rows_equal(&a, &c);
    }
    ok(good, "insert in any order, 300 random sets");
    struct buf out;
    buf_init(&out, SIZE_MAX);
    flush_rows_put(&out, &d);
    struct slice at = buf_slice(&out);
    ok(flush_rows_get(&a, &at) == 0 && at.len == 0 && flush_rows_equal(&a, &d), "there and back");
    for (size_t n = 0; n < out.len; n++) {
        at = (struct slice){out.ptr, n};
        good = good && flush_rows_get(&a, &at) == WH_ECORRUPT;
    }
    ok(good, "cut short anywhere is refused");
    static const char zero_gap[] = {2, 0, 1, 0, 1}, empty[] = {1, 5, 0},
                      far[] = {1, (char)0xff, (char)0xff, (char)0xff, (char)0xff, 0x0f, 1};
    at = (struct slice){zero_gap, sizeof(zero_gap)};
    ok(flush_rows_get(&a, &at) == WH_ECORRUPT, "ranges that touch");
    at = (struct slice){empty, sizeof(empty)};
    ok(flush_rows_get(&a, &at) == WH_ECORRUPT, "an empty range");
    at = (struct slice){far, sizeof(far)};
    ok(flush_rows_get(&a, &at) == WH_ECORRUPT, "a row beyond the limit");
    buf_fini(&out);
    flush_rows_fini(&a);
    flush_rows_fini(&b);
    flush_rows_fini(&c);
    flush_rows_fini(&d);
}

static void test_entries(void)
{
    struct buf b;
    struct err e = {0};
    enum flush_plan_kind kind;
    buf_init(&b, SIZE_MAX);
    struct flush_plan p = {.table = SLICE_LIT("clicks"),
                           .token = SLICE_LIT("c/clicks/5-9"),
                           .first = 5,
                           .last = 9,
                           .bytes = 77,
                           .fingerprint = 0xdeadbeefcafe,
                           .rows = 12},
                      q;
    flush_plan_put(&b, &p);
    ok(flush_plan_kind(buf_slice(&b), &kind, &e) == 0 && kind == FLUSH_KIND_PLAN, "a plan");
    ok(flush_plan_get(buf_slice(&b), &q, &e) == 0 && slice_eq(q.table, p.table) &&
           slice_eq(q.token, p.token) && q.first == 5 && q.last == 9 && q.bytes == 77 &&
           q.fingerprint == p.fingerprint && q.rows == 12,
       "a plan there and back");
    bool refused = true;
    for (size_t n = 0; n < b.len; n++)
        refused = refused && flush_plan_get((struct slice){b.ptr, n}, &q, &e) == WH_ECORRUPT;
    ok(refused, "a plan cut short is refused");
    buf_reset(&b);
    p.piece_rows = 5;
    flush_plan_put(&b, &p);
    ok(flush_plan_kind(buf_slice(&b), &kind, &e) == 0 && kind == FLUSH_KIND_PLAN &&
           flush_plan_get(buf_slice(&b), &q, &e) == 0 && slice_eq(q.token, p.token) &&
           slice_eq(q.table, p.table) && q.rows == 12 && q.piece_rows == 5,
       "a plan in pieces there and back");
    for (size_t n = 0; n < b.len; n++)
        refused = refused && flush_plan_get((struct slice){b.ptr, n}, &q, &e) == WH_ECORRUPT;
    ok(refused, "it is refused when cut short");
    buf_reset(&b);
    p.rows = 1000;
    p.piece_rows = 1;
    flush_plan_put(&b, &p);
    ok(flush_plan_get(buf_slice(&b), &q, &e) == WH_ECORRUPT, "or in more pieces than are made");
    buf_reset(&b);
    struct flush_rows units[2], r;
    flush_rows_init(&units[0]);
    flush_rows_init(&units[1]);
    flush_rows_init(&r);
    rows_of(&units[0], "110");
    rows_of(&units[1], "0010001");
    flush_progress_put(&b, SLICE_LIT("clicks"), 10, units, 2);
    struct flush_progress g;
    ok(flush_plan_kind(buf_slice(&b), &kind, &e) == 0 && kind == FLUSH_KIND_PROGRESS &&
           flush_progress_get(buf_slice(&b), &g, &e) == 0 && g.plan_index == 10 &&
           g.unit_count == 2,
       "progress");
    ok(flush_rows_get(&r, &g.units) == 0 && flush_rows_equal(&r, &units[0]) &&
           flush_rows_get(&r, &g.units) == 0 && flush_rows_equal(&r, &units[1]),
       "its units");
    buf_reset(&b);
    struct flush_done d = {SLICE_LIT("clicks"), 10, 5, 9, 11, 1}, d2;
    flush_done_put(&b, &d);
    ok(flush_done_get(buf_slice(&b), &d2, &e) == 0 && d2.plan_index == 10 && d2.first == 5 &&
           d2.last == 9 && d2.stored == 11 && d2.dead == 1,
       "done");
    buf_reset(&b);
    struct flush_dead h = {.table = SLICE_LIT("clicks"), .plan_index = 10, .failed_at_ns = 3}, h2;
    flush_dead_put_head(&b, &h);
    for (uint32_t i = 0; i < 3; i++) {
        struct flush_dead_item it = {.index = 5 + i,
                                     .received_ns = 2,
                                     .ordinal = i,
                                     .row = 4 + i,
                                     .code = 27,
                                     .text = SLICE_LIT("why"),
                                     .sender = SLICE_LIT("192.0.2.7 r1"),
                                     .record = SLICE_LIT("{}")};
        flush_dead_put_item(&b, &it);
    }
    flush_dead_set_count(&b, 3);
    struct flush_dead_item it;
    int n = 0;
    ok(flush_dead_get(buf_slice(&b), &h2, &e) == 0 && h2.count == 3 && h2.fate == FLUSH_FATE_DEAD &&
           h2.failed_at_ns == 3,
       "dead letters");
    while (flush_dead_next(&h2, &it, &e) == 0)
        n += it.index == 5u + (unsigned)n && it.row == 4u + (unsigned)n && it.code == 27 &&
             slice_eq_str(it.text, "why") && slice_eq_str(it.sender, "192.0.2.7 r1") &&
             slice_eq_str(it.record, "{}");
    is_u64(n, 3, "their items");
    buf_fini(&b);
    flush_rows_fini(&units[0]);
    flush_rows_fini(&units[1]);
    flush_rows_fini(&r);
}

static int read_any(struct slice p, int control)
{
    struct flush_origin o;
    struct flush_edit edit;
    struct flush_purge purge;
    struct flush_job_spec job;
    struct flush_job_end end;
    switch (control) {
    case FLUSH_CONTROL_EDIT:
        return flush_edit_get(p, &edit, NULL);
    case FLUSH_CONTROL_PURGE:
        return flush_purge_get(p, &purge, NULL);
    case FLUSH_CONTROL_JOB:
        return flush_job_get(p, &job, NULL);
    case FLUSH_CONTROL_JOB_END:
        return flush_job_end_get(p, &end, NULL);
    default:
        return flush_origin_get(p, &o, NULL);
    }
}

/* A payload cut short anywhere is refused by its reader (control 0: an origin). */
static bool refused_cut(const struct buf *b, int control)
{
    bool refused = read_any(buf_slice(b), control) == 0;
    for (size_t n = 0; n < b->len; n++)
        refused = refused && read_any((struct slice){b->ptr, n}, control) == WH_ECORRUPT;
    return refused;
}

static void test_origin(void)
{
    struct buf b;
    struct flush_origin o, log = {.job = 7, .next_index = 90, .next_ordinal = 3, .rows = 55};
    struct store_letter_id id = {.index = 40, .ordinal = 2}, other = {.index = 1, .epoch = 3};
    buf_init(&b, SIZE_MAX);
    flush_origin_begin(&b, STORE_HELD);
    flush_origin_add(&b, id);
    flush_origin_add(&b, other);
    flush_origin_end(&b, 2);
    ok(flush_origin_get(buf_slice(&b), &o, NULL) == 0 && o.kind == FLUSH_FROM_SHELF &&
           o.shelf == STORE_HELD && o.count == 2 &&
           store_letter_id_cmp(flush_origin_id(&o, 0), id) == 0 &&
           store_letter_id_cmp(flush_origin_id(&o, 1), other) == 0,
       "an origin of letters there and back");
    ok(refused_cut(&b, 0), "and cut short refused");
    buf_reset(&b);
    log.same_table = true;
    flush_origin_log(&b, &log);
    ok(flush_origin_get(buf_slice(&b), &o, NULL) == 0 && o.kind == FLUSH_FROM_LOG && o.job == 7 &&
           o.next_index == 90 && o.next_ordinal == 3 && o.rows == 55 && o.same_table,
       "an origin of a log range there and back");
    ok(refused_cut(&b, 0), "and cut short refused");
    buf_fini(&b);
}

static void test_control(void)
{
    struct buf b;
    enum flush_control_kind kind;
    struct store_letter_id id = {.index = 40, .ordinal = 2, .epoch = 1};
    struct flush_edit edit = {STORE_DEAD, id, SLICE_LIT("ops r1"), SLICE_LIT("{}")}, edit2;
    buf_init(&b, SIZE_MAX);
    flush_edit_put(&b, &edit);
    ok(flush_control_kind(buf_slice(&b), &kind) && kind == FLUSH_CONTROL_EDIT &&
           flush_edit_get(buf_slice(&b), &edit2, NULL) == 0 &&
           store_letter_id_cmp(edit2.id, id) == 0 && slice_eq_str(edit2.who, "ops r1") &&
           slice_eq_str(edit2.record, "{}"),
       "an edit there and back");
    ok(refused_cut(&b, FLUSH_CONTROL_EDIT), "and cut short refused");
    buf_reset(&b);
    struct flush_purge purge = {.shelf = STORE_HELD,
                                .who = SLICE_LIT("ops"),
                                .table = SLICE_LIT("clicks"),
                                .before_ns = 9,
                                .count = 1},
                       purge2;
    flush_purge_put(&b, &purge, &id);
    ok(flush_purge_get(buf_slice(&b), &purge2, NULL) == 0 && purge2.shelf == STORE_HELD &&
           slice_eq_str(purge2.who, "ops") && slice_eq_str(purge2.table, "clicks") &&
           purge2.before_ns == 9 && store_letter_id_cmp(flush_purge_id(&purge2, 0), id) == 0,
       "a purge there and back");
    ok(refused_cut(&b, FLUSH_CONTROL_PURGE), "and cut short refused");
    buf_reset(&b);
    struct flush_job_spec job = {.table = SLICE_LIT("clicks"),
                                 .into = SLICE_LIT("t2"),
                                 .who = SLICE_LIT("ops"),
                                 .reason = SLICE_LIT("why"),
                                 .state = FLUSH_JOB_FAILED,
                                 .held = true,
                                 .from = 1,
                                 .to = 9,
                                 .next_index = 4,
                                 .next_ordinal = 6,
                                 .rows = 10,
                                 .rows_per_second = 11,
                                 .started_ns = 12,
                                 .changed_ns = 13},
                          job2;
    flush_job_put(&b, &job);
    ok(flush_job_get(buf_slice(&b), &job2, NULL) == 0 && slice_eq(job2.table, job.table) &&
           slice_eq(job2.into, job.into) && slice_eq(job2.who, job.who) &&
           slice_eq(job2.reason, job.reason) && job2.state == FLUSH_JOB_FAILED && job2.held &&
           !job2.ignore_unknown && job2.from == 1 && job2.to == 9 && job2.next_index == 4 &&
           job2.next_ordinal == 6 && job2.rows == 10 && job2.rows_per_second == 11 &&
           job2.started_ns == 12 && job2.changed_ns == 13,
       "a job there and back");
    ok(refused_cut(&b, FLUSH_CONTROL_JOB), "and cut short refused");
    buf_reset(&b);
    struct flush_job_end end = {7, FLUSH_JOB_CANCELLED, SLICE_LIT("ops")}, end2;
    flush_job_end_put(&b, &end);
    ok(flush_job_end_get(buf_slice(&b), &end2, NULL) == 0 && end2.job == 7 &&
           end2.state == FLUSH_JOB_CANCELLED && slice_eq_str(end2.reason, "ops"),
       "the end of a job there and back");
    ok(refused_cut(&b, FLUSH_CONTROL_JOB_END), "and cut short refused");
    buf_fini(&b);
}

int main(void)
{
    test_rows();
    test_entries();
    test_origin();
    test_control();
    return tap_done();
}
