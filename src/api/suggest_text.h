/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV samples for POST /v1/schema/suggest. */
#ifndef WH_API_SUGGEST_TEXT_H
#define WH_API_SUGGEST_TEXT_H

#include "schema/schema.h"
#include "text/text.h"

/* A catalog with one table, whose columns are named in the first line of the body. 0, -ENOMEM,
 * WH_ELIMIT: an empty name, or too many. *out: one reference, or NULL. */
int suggest_text_table(struct slice body, enum text_format format,
                       struct schema_catalog **out) WH_MUST_CHECK;
/* NULL: names that cannot be columns. */
const struct schema_table *suggest_text_find(const struct schema_catalog *c);

#endif
