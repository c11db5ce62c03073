/* SPDX-License-Identifier: Apache-2.0 */
/* Named pipes (pipes.md): SQL that an operator wrote, run by its name with a caller's values.
 *
 *   definition (JSON) ─ query_pipe_parse ─► struct query_pipe: compiled once, immutable, counted
 *   pipe + query string + body ─ query_pipe_bind ─► statement, the values as literals in its text
 *
 *   SELECT page, count() FROM clicks WHERE ts > {{since:2024-01-01}}
 *   {% if defined(site) and not all == 'yes' %} AND site = {{site}}
 *   {% elif all != 'yes' %} {{ error('say which site, or all=yes') }} {% end %}
 *   LIMIT {{limit:10}}
 *
 * Values are written in one pass and never read again as template. A value stays inside its literal
 * wherever its placeholder stands: in a quoted text it is escaped for that quote and brings no
 * quotes of its own, in a comment it cannot end the comment. Text that is no placeholder is left
 * alone, and so are tags in quotes and comments. */
#ifndef WH_QUERY_PIPE_H
#define WH_QUERY_PIPE_H

#include "base/err.h"
#include "query/select.h"
#include "json/json.h"

struct query_pipe;

enum {
    QUERY_PIPE_STRICT_MEMBERS = 1, /* unknown members are refused (policy.strict) */
    QUERY_PIPE_STRICT_QUOTES = 2   /* placeholders in quotes are refused (pipes.strict) */
};

/* Read a definition {"sql":…,"parameters":[…],"description":…,"allowed_roles":[…],"cache_ttl":n}
 * of the pipe `name`; a member "name" is not looked at, unless name.ptr is NULL. WH_ESYNTAX: no
 * JSON object of that shape ("invalid json"); WH_EUNSUPPORTED, WH_ELIMIT: e says what is wrong,
 * ready for the client, with line and column of the template's mistakes; -ENOMEM. reader: any, used
 * until this returns. LIMIT_JSON_PADDING readable bytes must follow text. */
int query_pipe_parse(struct json_reader *reader, struct slice name, struct slice text,
                     unsigned flags, struct query_pipe **out, struct err *e) WH_MUST_CHECK;
/* Append the definition of a pipe that is only SQL, as a file of pipes.dir is: {"name":…,"sql":…}.
 */
void query_pipe_put_seed(struct buf *out, struct slice name, struct slice sql);

struct query_pipe *query_pipe_ref(struct query_pipe *p);
void query_pipe_unref(struct query_pipe *p); /* NULL is fine */

/* As long as the pipe. */
struct slice query_pipe_name(const struct query_pipe *p);
/* Exact names, none of them empty. */
const struct slice *query_pipe_roles(const struct query_pipe *p, uint32_t *count);
/* May the role (effective, not the admin) run it? */
bool query_pipe_allows(const struct query_pipe *p, struct slice role);
/* Declared parameter i, valid as long as the pipe; type: as it was written, empty for none. False
 * past the last. */
struct query_pipe_parameter {
    struct slice name, type;
    bool required;
};
bool query_pipe_parameter(const struct query_pipe *p, uint32_t i, struct query_pipe_parameter *out);
struct slice query_pipe_description(const struct query_pipe *p); /* empty: none */
/* cache_ttl in seconds, 0: never cached; false: none is set. */
bool query_pipe_ttl(const struct query_pipe *p, uint64_t *ttl_s);
/* Append the definition as GET answers it, without empty members. */
void query_pipe_put_json(const struct query_pipe *p, struct buf *out);
/* Call fn with each finding that does not make it invalid: placeholders in quotes and comments,
 * double braces that are no placeholder, parameters that the SQL does not name. Returns how many.
 */
uint32_t query_pipe_warn(const struct query_pipe *p, access_warn_fn fn, void *arg);

/* ---- binding --------------------------------------------------------------------------------- */

/* Memory for it, reused; one owner thread. */
struct query_binder;
struct query_binder *query_binder_new(void); /* NULL: no memory */
void query_binder_free(struct query_binder *b);

struct query_argument { /* of the query string, decoded; of equal names the first counts */
    struct slice name, value;
};

/* Write the statement for these arguments into s, which is reset first: sql and writes; tables are
 * another's to find (query_sql_tables). "token" in the query string is no argument. body: a JSON
 * object, merged over them; what is none, or empty, is ignored (LIMIT_JSON_PADDING readable bytes
 * follow it). READY, REFUSED (400) or NO_MEMORY. */
enum query_result query_pipe_bind(struct query_binder *b, const struct query_pipe *p,
                                  const struct query_argument *arguments, uint32_t count,
                                  struct slice body, struct query_statement *s,
                                  struct query_refusal *no) WH_MUST_CHECK;

/* Does the statement begin with a verb that writes (pipes.md §6), after comments, parentheses and
 * WITH …? */
bool query_sql_writes(struct slice sql);

/* Add to s->tables what the text reads of the catalog, and say in s->tables_unknown whether there
 * may be more: table functions, other databases, dictionaries, names that are not known (pipes.md
 * §5). Returns how many such places there are. */
uint32_t query_sql_tables(struct slice sql, const struct schema_catalog *catalog,
                          struct slice database, struct query_statement *s);

/* ---- all of them ----------------------------------------------------------------------------- */

/* The compiled pipes as of one control snapshot: immutable, counted; any thread. */
struct query_pipes;
struct query_pipes *query_pipes_new(void); /* empty, one reference; NULL: no memory */
/* Before it is shared: takes over the reference, in any order; a pipe of the same name is replaced.
 * False: no memory, and the pipe is released. */
bool query_pipes_take(struct query_pipes *s, struct query_pipe *p) WH_MUST_CHECK;
struct query_pipes *query_pipes_ref(struct query_pipes *s);
void query_pipes_unref(struct query_pipes *s); /* NULL is fine */
uint32_t query_pipes_count(const struct query_pipes *s);
/* Sorted by name; as long as the set. */
struct query_pipe *query_pipes_at(const struct query_pipes *s, uint32_t i);
struct query_pipe *query_pipes_find(const struct query_pipes *s, struct slice name); /* or NULL */

#endif
