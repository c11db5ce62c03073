/* SPDX-License-Identifier: Apache-2.0 */
/* JSON reader: text in, a flat array of nodes out; nothing is copied, nothing is converted.
 *
 * The text is indexed by simdjson (UTF-8 check and structural index, one pass over a whole body),
 * then one record at a time is walked into nodes in document order:
 *
 *   {"a":[1,"x"]}  →  0 OBJECT count=1 next=5 | 1 STRING "a" (key) | 2 ARRAY count=2 next=5 |
 *                     3 NUMBER 1 | 4 STRING "x"
 *
 * A key is a STRING node directly before its value. Numbers keep their digits, strings keep their
 * escapes (json_unescape when needed): nothing passes through a double. Duplicate keys are all
 * there, the caller decides (http-api §1: last wins). RFC 8259; depth ≤ LIMIT_JSON_DEPTH. Refused
 * are a byte order mark, bytes that are not UTF-8, and control bytes (also NUL) in strings; a lone
 * \u surrogate is accepted as the RFC's grammar has it. */
#ifndef WH_JSON_JSON_H
#define WH_JSON_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

enum {
    JSON_F_ESCAPED = 1,  /* STRING: contains a backslash */
    JSON_F_INTEGER = 2,  /* NUMBER: no '.', no exponent */
    JSON_F_NEGATIVE = 4, /* NUMBER: starts with '-' */
    JSON_F_SPACED = 8    /* ARRAY, OBJECT: white space between tokens somewhere inside */
};

struct json_node {
    uint32_t off; /* of the value's first byte; STRING: of the byte after the opening quote */
    uint32_t len; /* bytes; STRING: without quotes, escapes unresolved; containers: with brackets */
    uint32_t next;  /* number of the node after this value and all its children */
    uint32_t count; /* ARRAY: elements; OBJECT: members */
    uint8_t kind;   /* enum json_kind */
    uint8_t flags;  /* JSON_F_… */
};

/* One value. Valid until the next call on the reader that made it. */
struct json_doc {
    const char *text; /* base of every off; somewhere in the text given, not always its start */
    const struct json_node *nodes;
    uint32_t node_count;
};

static inline struct slice json_raw(const struct json_doc *d, const struct json_node *n)
{
    return (struct slice){d->text + n->off, n->len};
}

enum json_framing {
    JSON_ONE,   /* the first value of the text; what follows it is not looked at, but a number or
                   word must end at white space, a bracket, comma or colon. WH_EEND at once when
                   the text is nothing but white space */
    JSON_LINES, /* one value a line (LF or CRLF); blank lines are skipped; a bad line is reported
                   and the next line goes on */
    JSON_ITEMS  /* the elements of one array; white space may surround it, nothing else */
};

struct json_reader;

/* A reader grows with its texts and keeps its memory between them: no allocation once it has seen
 * its usual load. Lines need about 300 KiB whatever the text's size; one huge value or array needs
 * up to 4 bytes per byte of text plus its nodes, which a small text after it gives back. Owned by
 * one thread. NULL when memory runs out. text_max: longest text in bytes, ≤ 256 MiB. */
struct json_reader *json_reader_new(size_t text_max);
void json_reader_free(struct json_reader *r);

/* Start on text[0…len). LIMIT_JSON_PADDING readable bytes must follow (their content is of no
 * consequence) and text must stay valid while the reader works on it. 0, or -ENOMEM, WH_ELIMIT. */
int json_reader_begin(struct json_reader *r, const char *text, size_t len,
                      enum json_framing framing) WH_MUST_CHECK;

/* The next value.
 *   0           *doc holds it
 *   WH_EEND     no more; for JSON_ITEMS the array was well-formed to its end
 *   WH_ESYNTAX  not JSON. JSON_LINES: this line only, call again for the next one. Otherwise the
 *               whole text is refused. json_reader_error() says what and where.
 *   WH_ELIMIT   deeper than LIMIT_JSON_DEPTH, or a line over LIMIT_NDJSON_LINE_BYTES; scope as
 * above -ENOMEM  */
int json_reader_next(struct json_reader *r, struct json_doc *doc) WH_MUST_CHECK;

/* After WH_ESYNTAX/WH_ELIMIT: a short cause such as "unterminated json array"; static text. */
const char *json_reader_error(const struct json_reader *r);

/* JSON_ONE, after a value: true when something other than white space follows it. */
bool json_reader_trailing(const struct json_reader *r);

/* Resolve the escapes of a STRING's raw bytes into dst (room for raw.len bytes; it may be raw.ptr);
 * returns the length. A lone surrogate becomes U+FFFD. */
size_t json_unescape(struct slice raw, char *dst);

/* Is n a STRING that spells text, however escaped? For names that we know, up to 80 bytes. */
bool json_string_is(const struct json_doc *d, const struct json_node *n, const char *text);

/* Append value n of doc without insignificant white space, otherwise byte for byte. Never writes a
 * raw control byte, so the result fits on one line. */
void json_put_minified(struct buf *out, const struct json_doc *doc, const struct json_node *n);

/* "null", "boolean", "number", "string", "array", "object": as error messages name kinds. */
const char *json_kind_name(uint8_t kind);

#ifdef __cplusplus
}
#endif
#endif
