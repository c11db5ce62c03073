/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe's definition, checked and written anew (pipes §1).
 *
 *   {"name":"top","sql":"SELECT …","parameters":[{"name":"n","type":"number","default":10}],
 *    "description":"…","allowed_roles":["viewer"],"cache_ttl":60}
 *
 * The SQL is text here; as a template it is judged by src/query. */
#ifndef WH_CONTROL_DEFINITION_H
#define WH_CONTROL_DEFINITION_H

#include "json/json.h"

/* Read the definition in text, and append it to out as it is stored and shown: members in the order
 * above, name as given, without empty optionals, members that mean nothing here, and empty roles.
 * LIMIT_JSON_PADDING readable bytes must follow text. strict (pipes.strict): members that mean
 * nothing here are refused. sql (NULL: not wanted): the SQL, unescaped, is appended to it.
 * WH_ESYNTAX: no JSON object, e is "invalid json"; WH_EUNSUPPORTED, WH_ELIMIT: the finding, ready
 * for the client; -ENOMEM. */
int control_pipe_define(struct json_reader *reader, struct slice name, struct slice text,
                        bool strict, struct buf *out, struct buf *sql, struct err *e) WH_MUST_CHECK;

/* The definition of a pipe that is nothing but SQL. 0, or as above. */
int control_pipe_from_sql(struct slice name, struct slice sql, struct buf *out,
                          struct err *e) WH_MUST_CHECK;

#endif
