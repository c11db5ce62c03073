/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the structured query share: the body as a tree, and comparisons as SQL. */
#ifndef WH_QUERY_SELECT_PRIV_H
#define WH_QUERY_SELECT_PRIV_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/magic.h"
#include "query/select.h"

#include "json/json.h"
#include <stdarg.h>

#define QUERY_SELECT_MAGIC 0x51534543u

/* Texts are unescaped and live in the arena or the body. */
struct select_names {
    uint32_t count;
    struct slice *list;
};
struct select_aggregation {
    struct slice fn, column, alias;
};
struct select_filter {
    struct slice column, op;
    const struct json_node *value; /* NULL: the member is absent */
};
struct select_order {
    struct slice column;
    bool is_desc;
};
struct select_tree {
    struct select_names columns, group_by;
    bool select_all;
    uint32_t aggregation_count, filter_count, order_count;
    struct select_aggregation *aggregations;
    struct select_filter *filters;
    struct select_order *orders;
    uint64_t limit; /* 0: none, or none that counts */
    struct slice time_column, since, until;
};

struct query_select {
    uint32_t magic;
    bool parsed;
    struct json_reader *reader;
    struct json_doc doc;
    struct arena arena;
    struct buf words; /* of the refusal */
    struct select_tree tree;
};

/* Fill *no with words that are kept in `words`. REFUSED or NO_MEMORY. */
enum query_result query_refusal_put(struct buf *words, struct query_refusal *no, int status,
                                    const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
/* Refuse; the words go into q->words. */
enum query_result select_refuse(struct query_select *q, struct query_refusal *no, int status,
                                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A name for such words: cut at LIMIT_NAME_BYTES. */
#define SELECT_ARG(s) (int)((s).len < LIMIT_NAME_BYTES ? (s).len : LIMIT_NAME_BYTES), (s).ptr

/* Is text one of these ASCII letters in any case? */
bool select_is(struct slice text, const char *lower);

/* ---- comparisons (select_value.c) ---- */

enum select_op {
    SELECT_EQ,
    SELECT_NEQ,
    SELECT_GT,
    SELECT_GTE,
    SELECT_LT,
    SELECT_LTE,
    SELECT_LIKE,
    SELECT_NOT_LIKE,
    SELECT_IN
};

/* A value that a column is compared with. */
struct select_operand {
    bool is_number; /* digits of a JSON number, in the caller's spelling */
    struct slice text;
};

struct select_sql {
    struct query_statement *s;
    enum query_style style;
    struct arena *arena; /* for texts on the way */
};

/* Append `column` <op> operand by the column's type; op is not SELECT_IN. False: no memory. */
bool select_put_comparison(const struct select_sql *w, const struct schema_column *c,
                           enum select_op op, struct select_operand v);
/* Append `column` IN (…) of count > 0 operands. False: no memory. */
bool select_put_in(const struct select_sql *w, const struct schema_column *c,
                   const struct select_operand *list, uint32_t count);

#endif
