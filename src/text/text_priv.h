/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the text room: a reader and the parts of its formats. */
#ifndef WH_TEXT_TEXT_PRIV_H
#define WH_TEXT_TEXT_PRIV_H

#include "base/limits.h"
#include "base/magic.h"
#include "text/text.h"
#include "json/json.h"

#define TEXT_MAGIC 0x74655874u

struct text_reader {
    uint32_t magic;
    const struct schema_table *table;
    struct text_options o;
    const char *p, *end; /* what is unread; end: of the body */
    const char *begin;   /* of the row at hand */
    const char *limit;   /* of the row at hand: end, or LIMIT_TEXT_ROW_BYTES behind its start */
    uint64_t rows;
    bool had_header, over;
    bool in_brackets, first; /* TEXT_JSON_OBJECTS: within [ ]; before its first row */
    /* Columns by field; NULL: the field is read past. */
    const struct schema_column **fields;
    uint32_t field_count, field_cap;
    uint32_t types_seen;      /* in the header */
    struct buf out;           /* the row as JSON */
    struct buf field;         /* a field without its quotes and escapes */
    struct buf scratch;       /* a string within a field, likewise */
    struct buf value;         /* JSON of one field, readable bytes behind it */
    struct json_reader *json; /* for rows, and values of type JSON, that are JSON already */
    struct text_error error;
};

/* Set the error; WH_ESYNTAX. */
int text_refuse(struct text_reader *r, int32_t code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Begin a member in r->out: `,"name":`. */
void text_key(struct text_reader *r, const struct schema_column *col);
static inline bool text_is_blank(char c)
{
    return c == ' ' || c == '\t';
}
static inline bool text_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* reader.c: the member that begins at mark has no value of its own: the column's DEFAULT. */
void text_put_default(struct text_reader *r, const struct schema_column *col, size_t mark);

/* scalar.c: one value that is not composite, escapes resolved, to r->out. 0, or WH_ESYNTAX when it
 * cannot be said in JSON. */
int text_put_scalar(struct text_reader *r, const struct ch_type *peeled, struct slice text);
/* Append text as a JSON string; false: it is not UTF-8. */
bool text_put_string(struct buf *out, struct slice text);
/* Length of the UTF-8 character at p, 0 when there is none (overlong, surrogate, cut). n > 0. */
size_t text_utf8_len(const unsigned char *p, size_t n);
/* Before element i of a tuple: comma, and its name where elements have names. */
void text_put_element(struct buf *out, const struct ch_type *tuple, uint32_t i);
/* Is it spelled like a JSON number? */
bool text_is_number(struct slice s);
/* Is this type's text something with brackets? */
bool text_is_composite(const struct ch_type *peeled);

int text_hex_digit(char c); /* -1: none */
/* quoted.c: append text with its backslash escapes resolved. 0, or WH_ESYNTAX when one is cut. */
int text_unescape(struct buf *out, struct slice text);

/* quoted.c: a value in the spelling of SQL literals at *p, as it stands in Values and within
 * brackets in every format; moves *p behind it. 0 or WH_ESYNTAX. */
int text_put_literal(struct text_reader *r, const struct ch_type *type, const char **p,
                     const char *end, int depth);
/* The same for a whole text: blanks may follow, nothing else. */
int text_put_literal_text(struct text_reader *r, const struct ch_type *type, struct slice text);

/* One row of each format into r->out, from r->p on; 0 or WH_ESYNTAX, r->p anywhere then. */
int text_csv_row(struct text_reader *r);
int text_tsv_row(struct text_reader *r);
int text_values_row(struct text_reader *r); /* also WH_EEND */
/* Also WH_EEND. *json: the row, which need not be in r->out. */
int text_json_row(struct text_reader *r, struct slice *json);

/* The fields of a header row, one call each; 0: *name is one and *last says whether the row ended;
 * WH_ESYNTAX. *name is in r->field or in the body. */
int text_csv_name(struct text_reader *r, struct slice *name, bool *last);
int text_tsv_name(struct text_reader *r, struct slice *name, bool *last);
/* The array of strings that a header is in TEXT_JSON_COMPACT. */
int text_json_array(struct text_reader *r, struct json_doc *doc);

#endif
