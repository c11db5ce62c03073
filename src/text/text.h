/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse's text formats, row by row, as JSON objects: CSV, TSV, Values, JSONCompactEachRow and
 * JSONEachRow in all its spellings.
 *
 *   1,"a ""b""",[1]\n   →   {"id":1,"name":"a \"b\"","tags":[1]}
 *
 * What comes out goes the way of every other record. So this room decides only what is peculiar to
 * a format: where a field ends, quotes and escapes, what stands for NULL and for DEFAULT (the key
 * is left out), how arrays, maps and tuples are spelled. Values stay text: whether 12x is a number
 * is judged where JSON's "12x" is, with the same words. Numbers keep their digits and become JSON
 * numbers when they are spelled like one.
 *
 * Semantics are ClickHouse's own with its default settings (26.7): fields are trimmed, an empty CSV
 * field is the column's DEFAULT, \N is NULL, a tuple takes one CSV field per element. What cannot
 * pass through JSON is refused: bytes that are not UTF-8. Values takes literals only; expressions
 * need a server. */
#ifndef WH_TEXT_TEXT_H
#define WH_TEXT_TEXT_H

#include "schema/schema.h"

enum text_format {
    TEXT_CSV,
    TEXT_TSV,
    TEXT_VALUES,
    TEXT_JSON_COMPACT, /* rows are arrays */
    TEXT_JSON_OBJECTS  /* rows are objects, with or without brackets and commas around them */
};

enum text_header {
    TEXT_HEADER_NONE,
    TEXT_HEADER_NAMES,           /* first row: names of columns */
    TEXT_HEADER_NAMES_AND_TYPES, /* second row: their types; they must fit */
    TEXT_HEADER_SNIFF /* the first row is a header when every field of it is a column's name, or,
                         with skip_unknown, when every column is named in it */
};

struct text_options {
    enum text_format format;
    enum text_header header;
    bool any_case;     /* names in the header match whatever their case (http-api §7.9) */
    bool skip_unknown; /* names in the header that are no column: their fields are read past */
    bool any_value;    /* escapes are resolved whatever the column's type: it is yet to be found */
    char delimiter;    /* TEXT_CSV; 0: a comma */
    /* Ordinals of the columns that fields go to, in field order; NULL: every column of the table
     * that takes values and is not EPHEMERAL. A header may name any of the former (of the latter,
     * and EPHEMERAL ones). Must stay while the body is read. */
    const uint32_t *columns;
    uint32_t column_count;
};

/* Why a row, or the whole body, is refused. */
struct text_error {
    int32_t code;    /* ClickHouse's number */
    char text[1024]; /* a sentence without the row's number; UTF-8 */
};

struct text_reader;

/* One owner thread; keeps its memory, so that it stops allocating once it has seen its usual load.
 * NULL: out of memory. */
struct text_reader *text_reader_new(void);
void text_reader_free(struct text_reader *r);

/* Start on a body; LIMIT_JSON_PADDING readable bytes follow it, and it and the table must stay
 * while it is read. 0; WH_ESYNTAX: the header is refused, *text_reader_error() says why; -ENOMEM.
 */
int text_reader_begin(struct text_reader *r, const struct schema_table *t,
                      const struct text_options *o, struct slice body) WH_MUST_CHECK;

/* The next row as JSON text, LIMIT_JSON_PADDING readable bytes behind it; valid until the next
 * call. 0; WH_EEND; WH_ESYNTAX: this row is refused. After that the next call goes on with the next
 * line, or for Values and JSON, where no line tells where a row begins, says WH_EEND. -ENOMEM. */
int text_reader_next(struct text_reader *r, struct slice *json) WH_MUST_CHECK;

const struct text_error *text_reader_error(const struct text_reader *r);
/* Rows begun so far, refused ones too, headers not. */
uint64_t text_reader_rows(const struct text_reader *r);
/* The body's first row was a header. */
bool text_reader_had_header(const struct text_reader *r);

#endif
