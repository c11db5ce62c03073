/* SPDX-License-Identifier: Apache-2.0 */
/* From rows of the log to blocks: parse, group by the columns that a record fills, encode.
 *
 * Omitted columns must get their DEFAULT from ClickHouse, so rows that fill different ones of the
 * columns with a DEFAULT travel in different INSERTs: a group. All other columns that occur are in
 * every block: leaving such a column out and sending its type's default are the same. So a group is
 * made of all rows of a unit that fill the same columns with a DEFAULT, and is found again whatever
 * else is in the unit then: a group that comes back as a unit, or half of one, is one group.
 * Groups stand in order of first appearance, rows in log order; those beyond FLUSH_GROUPS_MAX are
 * left for another pass. Blocks are kept between
 * jobs for as long as their table's schema stays, those of other tables while they are small
 * (flush_build_shed). One owner thread. */
#ifndef WH_FLUSH_BUILD_H
#define WH_FLUSH_BUILD_H

#include "clickhouse/columns.h"
#include "flush/rows.h"
#include "flush/scan.h"

#define FLUSH_GROUPS_MAX 16 /* blocks held at a time; each has a buffer per column */

struct flush_group {
    struct flush_rows rows;
    struct ch_block *block;         /* NULL: no columns, or the slot was never used */
    struct schema_catalog *catalog; /* the reference that keeps table alive */
    const struct schema_table *table;
    uint64_t *bits; /* columns, word_count words */
    uint32_t word_count, column_count;
    struct slice *names, *types; /* column_count each, in block order */
    bool whole;                  /* a row of this build has filled all of them */
};

struct flush_build {
    struct json_reader *reader;
    struct flush_group slots[FLUSH_GROUPS_MAX];
    struct flush_group *groups[FLUSH_GROUPS_MAX]; /* in order of first appearance */
    uint32_t group_count;
    struct flush_rows rest;          /* rows of further groups */
    struct flush_rows todo, refused; /* what is built; which of it was refused */
    struct flush_columns {
        struct schema_catalog *catalog; /* the reference that keeps table alive */
        const struct schema_table *table;
        uint64_t *row;   /* of the row at hand */
        uint64_t *apart; /* that keep rows apart: ch_apart_columns */
        uint64_t *plain; /* the others, in every block: a guess from earlier builds, and more */
        uint64_t *seen;  /* that rows have filled since the guess was made */
        uint32_t words, builds;
    } columns;
    struct buf body; /* lines for JSONEachRow */
};

/* A row where it lies in the log; borrowed during a call. */
struct flush_row {
    uint32_t row;   /* number in the plan */
    uint64_t index; /* log index of its entry */
    uint32_t ordinal;
    struct wal_batch_record record;
    struct slice sender;
    bool reentered; /* it was kept elsewhere before (origin.h) */
};

/* A row that the encoder refuses. unknown_column: because its table has no such column (any more).
 * 0, or an error that ends the build and comes out of it. */
typedef int flush_refuse_fn(void *ctx, const struct flush_row *row, int32_t code, struct slice text,
                            bool unknown_column);

/* An entry of the plan and the number of its first record; index 0: none. Where the last build
 * ended, so that one of later rows need not read the log from the plan's first entry on. */
struct flush_mark {
    uint64_t index;
    uint32_t row;
};

struct flush_source {
    struct wal *wal;
    struct slice table_name;
    const struct flush_span *spans; /* where the plan's entries are */
    uint32_t span_count;
    uint32_t row_count; /* of the plan; another number found is WH_ECORRUPT */
    struct schema_catalog *catalog;
    const struct schema_table *table;
    struct flush_mark *mark; /* used and moved on */
    flush_refuse_fn *refuse;
    void *ctx;
};

void flush_build_init(struct flush_build *b);
/* Give all memory back (also after a time without work); b can be used on. */
void flush_build_fini(struct flush_build *b);
/* Before the first build of another job: give back what is not this table's (NULL: none is known),
 * if it is much. */
void flush_build_shed(struct flush_build *b, const struct schema_table *table);

/* Native blocks of these rows in groups, or what is left over in rest. 0; WH_ELIMIT: the blocks
 * would take too much memory, cut todo, which has the rows that were not refused; WH_ECORRUPT,
 * WH_ENOTFOUND (log), -ENOMEM; what refuse returned. */
int flush_build_blocks(struct flush_build *b, const struct flush_source *src,
                       const struct flush_rows *rows, struct err *e) WH_MUST_CHECK;
/* The lines of these rows in body, for tables that travel as JSONEachRow. */
int flush_build_lines(struct flush_build *b, const struct flush_source *src,
                      const struct flush_rows *rows, struct err *e) WH_MUST_CHECK;

/* Call each for every one of these rows with its record. */
int flush_each_row(const struct flush_source *src, const struct flush_rows *rows,
                   int (*each)(void *ctx, const struct flush_row *row), void *ctx,
                   struct err *e) WH_MUST_CHECK;

#endif
