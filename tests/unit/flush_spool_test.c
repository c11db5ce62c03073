/* SPDX-License-Identifier: Apache-2.0 */
/* How full the log is and how fast backlog goes, with a clock of our own. */
#include "base/magic.h"
#include "flush/pace.h"
#include "flush/spool.h"
#include "tests/lib/tap.h"

#define S    1000000000ull
#define MIB_ 1048576ull
#define GIB_ (1024 * MIB_)

static bool near(double a, double b, double share)
{
    return a > b * (1 - share) && a < b * (1 + share);
}

static void test_rate(void)
{
    struct flush_spool s = {0};
    uint64_t now = 1000 * S, pending = 0;
    ok(!flush_spool_step(&s, now, 0, 100 * GIB_, true), "an empty log is no news");
    ok(s.hours_left == FLUSH_SPOOL_HOURS_MAX && s.bytes == 0, "and lasts for ever");
    /* 1 MiB of text a second, 1.5 MiB of log; all of it reaches ClickHouse */
    for (int i = 0; i < 60; i++) {
        flush_spool_entry(&s, MIB_ * 3 / 2, MIB_);
        now += S;
        (void)flush_spool_step(&s, now, 0, 100 * GIB_, true);
    }
    ok(near(s.in_per_s, 1.5 * MIB_, 0.01), "the first minute is an average already");
    ok(near(s.hours_left, 100.0 * 1024 / 1.5 / 3600, 0.01), "hours left at that rate: %.2f",
       s.hours_left);
    ok(s.growth_per_s == 0 && s.level == FLUSH_SPOOL_FINE, "nothing grows, nothing to say");
    for (int i = 0; i < 3600; i++) { /* an hour without ClickHouse */
        flush_spool_entry(&s, MIB_ * 3 / 2, MIB_);
        pending += MIB_;
        now += S;
        bool worse = flush_spool_step(&s, now, pending, 100 * GIB_, false);
        if (worse)
            ok(i == 0 && s.level == FLUSH_SPOOL_LOW, "said once: less than a day is left");
    }
    ok(near(s.growth_per_s, s.in_per_s, 0.01), "all that comes stays");
    ok(s.bytes == pending / 2 * 3, "bytes of the log, not of text");
    ok(near(s.hours_left, (100.0 * 1024 - 5400) / 1.5 / 3600, 0.01), "an hour less: %.2f",
       s.hours_left);
    uint64_t longer = 100 * GIB_ / MIB_ * 2 / 3 - 3600 - 1800;
    uint32_t said = 0;
    for (uint64_t i = 0; i < longer; i++) {
        flush_spool_entry(&s, MIB_ * 3 / 2, MIB_);
        pending += MIB_;
        now += S;
        said += flush_spool_step(&s, now, pending, 100 * GIB_, false);
    }
    ok(said == 1 && s.level == FLUSH_SPOOL_SHORT, "said once more: less than an hour is left");
    ok(near(s.hours_left, 0.5, 0.03), "half an hour: %.3f", s.hours_left);
    (void)flush_spool_step(&s, now + S, pending, pending, false);
    ok(s.hours_left == 0, "full is full");
    (void)flush_spool_step(&s, now + 2 * S, 0, 100 * GIB_, true);
    ok(s.level == FLUSH_SPOOL_FINE && s.growth_per_s < s.in_per_s, "ClickHouse is back: fine");
}

static void test_levels_stick(void)
{
    struct flush_spool s = {0};
    uint64_t now = S;
    uint32_t said = 0;
    (void)flush_spool_step(&s, now, 0, GIB_, false);
    for (int i = 0; i < 3000;
         i++) { /* capacity around the mark of a day: one line, not a thousand */
        uint64_t capacity = (uint64_t)(24 * 3600.0 * 1000 * (i % 2 ? 0.99 : 1.01));
        flush_spool_entry(&s, 1000, 1000);
        now += S;
        said += flush_spool_step(&s, now, 0, capacity, false);
    }
    is_u64(said, 1, "a value that swings around the mark is said once");
}

static void test_pace(void)
{
    struct flush_pace p = {0};
    uint64_t next = UINT64_MAX, now = 100 * S;
    flush_pace_restart(&p);
    ok(flush_pace_may(&p, 4, now, &next), "the first");
    flush_pace_begin(&p, 1000, now);
    ok(!flush_pace_may(&p, 4, now, &next) && next == UINT64_MAX, "one at first");
    flush_pace_end(&p, 0, false);
    flush_pace_begin(&p, 1000, now);
    ok(!flush_pace_may(&p, 4, now, &next), "still one when it did not go well");
    flush_pace_end(&p, 0, true);
    flush_pace_begin(&p, 1000, now);
    ok(flush_pace_may(&p, 4, now, &next), "two after one that did");
    for (int i = 0; i < 10; i++) {
        flush_pace_end(&p, 0, true);
        flush_pace_begin(&p, 1000, now);
    }
    flush_pace_begin(&p, 1000, now);
    flush_pace_begin(&p, 1000, now);
    ok(p.running == 3 && !flush_pace_may(&p, 4, now, &next), "never the last of four");
    ok(!flush_pace_may(&p, 3, now, &next), "nor of three");
    while (p.running > 0)
        flush_pace_end(&p, 0, true);
    ok(flush_pace_may(&p, 1, now, &next), "but where there is only one, that");
    p.rows_per_s = 500;
    flush_pace_begin(&p, 2000, now);
    ok(!flush_pace_may(&p, 4, now + 4 * S - 1, &next) && next == now + 4 * S,
       "2,000 rows at 500 a second: the next in 4 s");
    ok(flush_pace_may(&p, 4, now + 4 * S, &next), "then it goes on");
    flush_pace_end(&p, 1500, false);
    ok(flush_pace_may(&p, 4, now + S, &next), "sooner when most of them were not sent");
    ok(!flush_pace_may(&p, 4, now + S - 1, &next), "but those that were count");
    flush_pace_begin(&p, 1000, now + 9 * S);
    flush_pace_end(&p, 1000, false);
    ok(flush_pace_may(&p, 4, now + 9 * S, &next), "nothing sent, nothing owed");
    flush_pace_restart(&p);
    ok(p.allowed == 1, "after the next outage from the start");
}

static void test_progress(void)
{
    struct flush_pace p = {0};
    uint64_t left = 1000000, eta = 0;
    ok(flush_pace_progress(&p, left, 1 * S) == 0, "unknown at first");
    for (uint64_t i = 2; i < 62; i++) {
        left -= 10000;
        eta = flush_pace_progress(&p, left, i * S);
    }
    ok(eta >= 40 && eta <= 41, "400,000 rows left at 10,000 a second: %u s", (unsigned)eta);
    ok(flush_pace_progress(&p, 0, 63 * S) == 0, "nothing left");
    for (uint64_t i = 64; i < 200; i++)
        eta = flush_pace_progress(&p, left += 10, i * S);
    ok(eta == 0, "no end while it grows");
}

int main(void)
{
    test_rate();
    test_levels_stick();
    test_pace();
    test_progress();
    return tap_done();
}
