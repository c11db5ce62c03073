/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled pipe in memory.
 *
 * The template is a list of parts that are gone through from the first on; IF jumps to `to` when
 * its condition is false, JUMP always. */
#ifndef WH_QUERY_PIPE_PRIV_H
#define WH_QUERY_PIPE_PRIV_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/magic.h"
#include "query/pipe.h"
#include "query/sql_lex.h"

#include <stdatomic.h>

#define QUERY_PIPE_MAGIC 0x50495045u

enum pipe_type {
    PIPE_UNTYPED,
    PIPE_STRING,
    PIPE_NUMBER,
    PIPE_BOOLEAN,
    PIPE_ARRAY
};

struct pipe_parameter {
    struct slice name, type_text;
    enum pipe_type type;
    bool required;
    const struct json_node *value; /* its default; NULL: none */
};

/* A name that the template or a declaration has. */
struct pipe_name {
    struct slice name;
    const struct pipe_parameter *parameter; /* NULL: not declared */
    bool is_used;
};

enum pipe_test {
    PIPE_OR,
    PIPE_AND,
    PIPE_NOT,
    PIPE_DEFINED,
    PIPE_TRUE,  /* the name alone */
    PIPE_EQUAL, /* name == literal */
    PIPE_LITERAL
};
enum pipe_literal {
    PIPE_IS_TEXT,
    PIPE_IS_NUMBER,  /* text is canonical */
    PIPE_IS_BOOLEAN, /* text: "1" or "0" */
    PIPE_IS_NULL
};
struct pipe_condition {
    enum pipe_test test;
    struct pipe_condition *a, *b;
    uint32_t name;
    enum pipe_literal literal;
    struct slice text;
};

enum pipe_part_kind {
    PIPE_TEXT,
    PIPE_PLACE,
    PIPE_ERROR,
    PIPE_IF,
    PIPE_JUMP
};
struct pipe_part {
    enum pipe_part_kind kind;
    uint32_t offset;                  /* in the SQL, for warnings */
    struct slice text;                /* TEXT; PLACE: the inline default; ERROR: the words */
    uint32_t name;                    /* PLACE */
    enum sql_place place;             /* PLACE: where it stands */
    bool wants_number;                /* PLACE: behind LIMIT or OFFSET */
    uint32_t to;                      /* IF, JUMP */
    struct pipe_condition *condition; /* IF; NULL: else */
};

struct query_pipe {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct arena arena;
    struct json_doc doc; /* the definition; text and nodes are our copies */
    struct slice name, sql, description;
    uint32_t role_count;
    struct slice *roles;
    uint32_t parameter_count;
    struct pipe_parameter *parameters;
    bool has_ttl;
    uint64_t ttl_s;
    uint32_t name_count;
    struct pipe_name *names; /* the declared ones first, in order */
    uint32_t part_count;
    struct pipe_part *parts;
    uint32_t odd_count; /* double braces that are no placeholder */
    uint32_t *odd;      /* offsets of the first of them */
};
#define PIPE_ODD_MAX 16 /* that a warning tells about */

/* An empty pipe with one reference; NULL: no memory. */
struct query_pipe *pipe_new(void);
/* Does the parameter's type take the value n of doc? If not, *why: "expected number, got string" …
 */
bool pipe_value_fits(const struct pipe_parameter *a, const struct json_doc *doc,
                     const struct json_node *n, const char **why);
/* Compile p->sql. WH_EUNSUPPORTED or WH_ELIMIT with e, -ENOMEM. */
int pipe_compile(struct query_pipe *p, bool strict_quotes, struct err *e) WH_MUST_CHECK;
/* The number of the name, added when it is new; LIMIT_PIPE_NAMES: too many. */
uint32_t pipe_name_of(struct query_pipe *p, struct slice name);
/* Line and column, from 1, columns in bytes. */
void pipe_locate(struct slice sql, uint32_t offset, uint32_t *line, uint32_t *column);

#endif
