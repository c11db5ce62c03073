/* SPDX-License-Identifier: Apache-2.0 */
/* Where in a text of SQL one is: code, a quoted text, a comment; as ClickHouse's lexer sees it. */
#ifndef WH_QUERY_SQL_LEX_H
#define WH_QUERY_SQL_LEX_H

#include "base/slice.h"

enum sql_place {
    SQL_CODE,
    SQL_TEXT,   /* '…' */
    SQL_NAME,   /* `…` */
    SQL_DOUBLE, /* "…" */
    SQL_LINE,   /* -- … and # … to the end of the line */
    SQL_BLOCK,  /* / * … * / */
    SQL_TYPOGRAPHIC, /* ‘…’ and “…”, which new servers take for quotes; nothing escapes in them */
    SQL_HEREDOC /* $tag$ … $tag$ */
};

struct sql_lex {
    enum sql_place place;
    struct slice end; /* TYPOGRAPHIC, HEREDOC: what ends it */
};

/* Go over the next bytes of p (not empty), which belong together: returns how many, and *x is where
 * one is behind them. */
size_t sql_lex_step(struct sql_lex *x, struct slice p);

#endif
