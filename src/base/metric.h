/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, gauges and histograms, and their Prometheus text (exposition format 0.0.4).
 *
 * A metric is made once (metric_new, under a lock) and its pointer kept; adding to it is one
 * relaxed atomic operation. Series of one name share help and type. Metrics live until the process
 * ends. Histograms have fixed buckets: powers of two between 1 µs and ~67 s for METRIC_SECONDS
 * (observed in nanoseconds), and powers of two from 1 to 2^26 for METRIC_SIZES. */
#ifndef WH_BASE_METRIC_H
#define WH_BASE_METRIC_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdint.h>

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_SECONDS,
    METRIC_SIZES
};

#define METRIC_BUCKETS 27

struct metric {
    struct metric *next;
    const char *name; /* static */
    const char *help; /* static */
    char *labels;     /* `table="clicks"`, or NULL */
    enum metric_type type;
    _Alignas(64) _Atomic int64_t value; /* counter, gauge; a histogram's sum */
    _Atomic uint64_t buckets[METRIC_BUCKETS + 1];
};

/* The series name{labels}; the same arguments give the same pointer. labels: NULL, or printf text
 * of label pairs. name and help must be string literals. Aborts when memory runs out. Any thread.
 */
struct metric *metric_new(enum metric_type type, const char *name, const char *help,
                          const char *labels, ...) __attribute__((format(printf, 4, 5)));

/* Append value escaped for use between the quotes of a label. */
void metric_label_escape(struct buf *out, struct slice value);

static inline void metric_add(struct metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}
static inline void metric_set(struct metric *m, int64_t v)
{
    atomic_store_explicit(&m->value, v, memory_order_relaxed);
}
static inline int64_t metric_get(struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}
/* METRIC_SECONDS: v in nanoseconds. METRIC_SIZES: v in its own unit. */
void metric_observe(struct metric *m, uint64_t v);
/* The value below which fraction q (0…1) of the observations lie, as the bucket's upper bound, in
 * the unit of metric_observe; 0 when nothing was observed. */
uint64_t metric_quantile(struct metric *m, double q);

/* Append every series as Prometheus text. */
void metric_write_all(struct buf *out);

#endif
