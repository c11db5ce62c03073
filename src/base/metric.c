/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metric.h"

#include "base/magic.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *first; /* sorted by name, so that a family's series stand together */

struct metric *metric_new(enum metric_type type, const char *name, const char *help,
                          const char *labels, ...)
{
    char *text = NULL;
    if (labels != NULL) {
        va_list ap;
        va_start(ap, labels);
        must(vasprintf(&text, labels, ap) >= 0);
        va_end(ap);
    }
    (void)pthread_mutex_lock(&lock);
    struct metric **at = &first;
    for (; *at != NULL; at = &(*at)->next) {
        int order = strcmp((*at)->name, name);
        if (order > 0)
            break;
        if (order == 0 && strcmp((*at)->labels ? (*at)->labels : "", text ? text : "") == 0) {
            struct metric *m = *at;
            (void)pthread_mutex_unlock(&lock);
            free(text);
            return m;
        }
    }
    size_t bytes = (sizeof(struct metric) + 63) & ~(size_t)63;
    struct metric *m = aligned_alloc(64, bytes);
    must(m != NULL);
    memset(m, 0, bytes);
    m->name = name;
    m->help = help;
    m->labels = text;
    m->type = type;
    m->next = *at;
    *at = m;
    (void)pthread_mutex_unlock(&lock);
    return m;
}

void metric_label_escape(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"')
            buf_put_u8(out, '\\');
        if (c == '\n')
            buf_put(out, "\\n", 2);
        else
            buf_put_u8(out, (uint8_t)c);
    }
}

/* Upper bound of bucket i in the unit of metric_observe. */
static uint64_t bound(enum metric_type type, unsigned i)
{
    return type == METRIC_SECONDS ? (uint64_t)1000 << i : (uint64_t)1 << i;
}

void metric_observe(struct metric *m, uint64_t v)
{
    uint64_t scaled = m->type == METRIC_SECONDS ? (v + 999) / 1000 : v;
    unsigned i = scaled <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(scaled - 1);
    if (i > METRIC_BUCKETS)
        i = METRIC_BUCKETS;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->value, (int64_t)v, memory_order_relaxed);
}

uint64_t metric_quantile(struct metric *m, double q)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++)
        total += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
    if (total == 0)
        return 0;
    uint64_t want = (uint64_t)((double)total * q);
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++) {
        seen += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (seen > want || seen == total)
            return bound(m->type, i);
    }
    return bound(m->type, METRIC_BUCKETS);
}

static void write_histogram(struct buf *out, struct metric *m)
{
    const char *labels = m->labels ? m->labels : "", *comma = m->labels ? "," : "";
    uint64_t total = 0;
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++) {
        total += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (i == METRIC_BUCKETS)
            buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", m->name, labels, comma,
                       total);
        else if (m->type == METRIC_SECONDS)
            buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", m->name, labels, comma,
                       (double)bound(m->type, i) / 1e9, total);
        else
            buf_printf(out, "%s_bucket{%s%sle=\"%" PRIu64 "\"} %" PRIu64 "\n", m->name, labels,
                       comma, bound(m->type, i), total);
    }
    const char *open = m->labels ? "{" : "", *close = m->labels ? "}" : "";
    double sum = (double)metric_get(m) / (m->type == METRIC_SECONDS ? 1e9 : 1.0);
    buf_printf(out, "%s_sum%s%s%s %.9g\n", m->name, open, labels, close, sum);
    buf_printf(out, "%s_count%s%s%s %" PRIu64 "\n", m->name, open, labels, close, total);
}

void metric_write_all(struct buf *out)
{
    static const char *const type_names[] = {"counter", "gauge", "histogram", "histogram"};
    (void)pthread_mutex_lock(&lock);
    const char *family = "";
    for (struct metric *m = first; m != NULL; m = m->next) {
        if (strcmp(family, m->name) != 0)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       type_names[m->type]);
        family = m->name;
        if (m->type == METRIC_SECONDS || m->type == METRIC_SIZES)
            write_histogram(out, m);
        else if (m->labels != NULL)
            buf_printf(out, "%s{%s} %" PRId64 "\n", m->name, m->labels, metric_get(m));
        else
            buf_printf(out, "%s %" PRId64 "\n", m->name, metric_get(m));
    }
    (void)pthread_mutex_unlock(&lock);
}
