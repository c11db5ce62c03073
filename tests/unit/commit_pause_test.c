/* SPDX-License-Identifier: Apache-2.0 */
/* When long entries are kept back: the rule alone, with made-up times. */
#include "cluster/pause.h"
#include "tests/lib/tap.h"

#define MS UINT64_C(1000000)

static uint64_t now = 5 * MS;

static uint64_t wait_at(const struct commit_pause *p, uint64_t at_ns, bool *shared)
{
    uint64_t wait_ns = 1;
    *shared = commit_pause_ask(p, at_ns, &wait_ns);
    return wait_ns;
}

/* A group of these kinds that took so long. */
static void group(struct commit_pause *p, bool has_short, bool has_long, uint64_t took_ns)
{
    uint64_t begun = now;
    commit_pause_begin(p, has_short, has_long, begun);
    now += took_ns;
    commit_pause_end(p, has_long, begun, now);
}

static void test_alone(void)
{
    struct commit_pause p = {0};
    bool shared;
    is_u64(wait_at(&p, now, &shared), 0, "nothing has happened: no pause");
    group(&p, false, true, 2 * MS);
    is_u64(wait_at(&p, now, &shared), 0, "only long ones: no pause");
    ok(!shared, "there is nobody to make room for");
}

static void test_together(void)
{
    struct commit_pause p = {0};
    bool shared;
    group(&p, true, false, MS);
    is_u64(wait_at(&p, now, &shared), 0, "after short ones: no pause");
    ok(shared, "but somebody would wait for a long one");
    commit_pause_begin(&p, false, true, now);
    is_u64(wait_at(&p, now + MS, &shared), PAUSE_NS_MAX - MS,
           "while a long group is written: not longer than the longest pause");
    now += 2 * MS;
    commit_pause_end(&p, true, now - 2 * MS, now);
    is_u64(wait_at(&p, now, &shared), 2 * MS * PAUSE_TIMES, "then several times what it took");
    is_u64(wait_at(&p, now + 2 * MS * PAUSE_TIMES, &shared), 0, "and then the next");
    group(&p, true, false, MS);
    is_u64(wait_at(&p, now, &shared), 2 * MS * PAUSE_TIMES - MS,
           "short ones meanwhile change nothing");
    group(&p, true, true, 500 * MS);
    is_u64(wait_at(&p, now, &shared), PAUSE_NS_MAX, "a slow disk costs the longest pause, no more");
}

static void test_ends(void)
{
    struct commit_pause p = {0};
    bool shared;
    group(&p, true, true, MS);
    now += PAUSE_SHORT_NS;
    group(&p, false, true, MS);
    is_u64(wait_at(&p, now, &shared), 0, "the last short one is long ago: no pause");
    ok(!shared, "and nobody to make room for");
}

int main(void)
{
    test_alone();
    test_together();
    test_ends();
    return tap_done();
}
