/* SPDX-License-Identifier: Apache-2.0 */
/* A set of a plan's rows, as ascending ranges of row numbers.
 *
 * The rows of a plan are numbered from 0 in log order, whatever schema they are read with. What is
 * sent in one INSERT (a unit) is such a set, and the INSERT's token is made from it: the same rows
 * have the same token, other rows have another one. */
#ifndef WH_FLUSH_ROWS_H
#define WH_FLUSH_ROWS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Most rows in a plan: keeps row numbers in 32 bits and a progress entry (at worst two bytes for
 * two rows) far below the largest log entry. */
#define FLUSH_PLAN_ROWS_MAX 1000000u

struct flush_range {
    uint32_t lo, hi; /* lo ≤ row < hi */
};

struct flush_rows {
    struct flush_range *ranges;
    uint32_t range_count, range_cap;
    uint32_t count; /* rows */
};

void flush_rows_init(struct flush_rows *r);
void flush_rows_fini(struct flush_rows *r);
/* Room in an array of sets for n at least; the new ones are empty. 0 or -ENOMEM. */
int flush_rows_reserve(struct flush_rows **sets, uint32_t *cap, uint32_t n) WH_MUST_CHECK;
/* Empty it, keep the memory. */
void flush_rows_reset(struct flush_rows *r);

/* Add rows lo … hi−1, none of them below what is in already. 0 or -ENOMEM. */
int flush_rows_append(struct flush_rows *r, uint32_t lo, uint32_t hi) WH_MUST_CHECK;
/* Add one row in any order; one already in changes nothing. 0 or -ENOMEM. */
int flush_rows_insert(struct flush_rows *r, uint32_t row) WH_MUST_CHECK;
int flush_rows_copy(struct flush_rows *to, const struct flush_rows *from) WH_MUST_CHECK;
/* to = a without b; to is another set than both. */
int flush_rows_minus(struct flush_rows *to, const struct flush_rows *a,
                     const struct flush_rows *b) WH_MUST_CHECK;
/* The first half (rounded down) to left, the others to right. */
int flush_rows_split(const struct flush_rows *r, struct flush_rows *left,
                     struct flush_rows *right) WH_MUST_CHECK;
bool flush_rows_has(const struct flush_rows *r, uint32_t row);
bool flush_rows_equal(const struct flush_rows *a, const struct flush_rows *b);
/* 64 bits over the ranges. */
uint64_t flush_rows_digest(const struct flush_rows *r);

/* As in a progress entry: varint range count, then per range varint gap from the end of the last
 * one, varint length. */
void flush_rows_put(struct buf *out, const struct flush_rows *r);
/* Reads from *at, which moves on; every byte is checked. 0, WH_ECORRUPT, -ENOMEM. */
int flush_rows_get(struct flush_rows *r, struct slice *at) WH_MUST_CHECK;

/* Walks rows in ascending order: does r hold row? Calls come with rising row numbers. */
struct flush_rows_walk {
    const struct flush_rows *rows;
    uint32_t at; /* range not yet passed */
};
static inline bool flush_rows_walk_has(struct flush_rows_walk *w, uint32_t row)
{
    while (w->at < w->rows->range_count && row >= w->rows->ranges[w->at].hi)
        w->at++;
    return w->at < w->rows->range_count && row >= w->rows->ranges[w->at].lo;
}

#endif
