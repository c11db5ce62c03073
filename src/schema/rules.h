/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that repair many records in the same way, for dead letters that go back to their table.
 *
 *   [{"rename":{"from":"a","to":"b"}},                 the value moves to another column
 *    {"drop":"a"},                                     the column is left out
 *    {"default":{"column":"a","value":1}},             where it is absent or null
 *    {"set":{"column":"a","value":[1]}},               always
 *    {"cast":{"column":"a","to":"integer"}}]           string, integer, number or boolean
 *
 * They are applied in order. A rule that a record gives no occasion to (no such column, or null for
 * a cast) leaves it alone. One that would lose something is an error for that record: a rename onto
 * a column that is there already, a cast of "3.7" to integer. Digits are never passed through a
 * double. The text that a rule does not touch stays byte for byte, except for line breaks.
 *
 * Casts: string takes numbers and booleans as they are spelt, arrays and objects as their JSON
 * text. number and integer take text in decimal or scientific notation with white space around it,
 * a plus sign or leading zeros, and booleans as 1 and 0; integer also 3.0 and 1e3, at most 80
 * digits. boolean takes "true", "false" in any case, and 1 and 0 as number or text. */
#ifndef WH_SCHEMA_RULES_H
#define WH_SCHEMA_RULES_H

#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"

#include <stdint.h>

struct rules;

/* Read the array list, a node of doc; nothing of doc is kept. WH_ESYNTAX or WH_ELIMIT with a text
 * for the client in e (unknown rule or member, wrong kind, more than LIMIT_RULES), -ENOMEM. Names
 * of rules and members are matched exactly, of a repeated member the last counts. */
int rules_parse(struct rules **out, const struct json_doc *doc, const struct json_node *list,
                struct err *e) WH_MUST_CHECK;
void rules_free(struct rules *r);
uint32_t rules_count(const struct rules *r);

/* Apply all rules to doc and append the record to out as one line without a newline. Of duplicate
 * keys the last counts. WH_ESYNTAX: a rule does not fit this record, e names rule and column, out
 * is unchanged; WH_ELIMIT: over LIMIT_RECORD_BYTES or LIMIT_TABLE_COLUMNS; -ENOMEM. Uses scratch
 * memory inside r: one thread at a time. */
int rules_apply(struct rules *r, const struct json_doc *doc, struct buf *out,
                struct err *e) WH_MUST_CHECK;

#endif
