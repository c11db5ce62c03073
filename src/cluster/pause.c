/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/pause.h"

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void put(_Atomic uint64_t *at, uint64_t ns)
{
    atomic_store_explicit(at, ns, memory_order_relaxed);
}

void commit_pause_begin(struct commit_pause *p, bool has_short, bool has_long, uint64_t now_ns)
{
    if (has_short)
        put(&p->short_ns, now_ns);
    if (has_long)
        put(&p->until_ns, now_ns + PAUSE_NS_MAX);
}

void commit_pause_end(struct commit_pause *p, bool has_long, uint64_t begun_ns, uint64_t now_ns)
{
    uint64_t pause = (now_ns - begun_ns) * PAUSE_TIMES;
    if (has_long)
        put(&p->until_ns, now_ns + (pause < PAUSE_NS_MAX ? pause : PAUSE_NS_MAX));
}

bool commit_pause_ask(const struct commit_pause *p, uint64_t now_ns, uint64_t *wait_ns)
{
    uint64_t short_ns = get(&p->short_ns), until_ns = get(&p->until_ns);
    bool shared = short_ns != 0 && now_ns < short_ns + PAUSE_SHORT_NS;
    *wait_ns = shared && until_ns > now_ns ? until_ns - now_ns : 0;
    return shared;
}
