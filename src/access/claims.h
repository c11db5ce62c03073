/* SPDX-License-Identifier: Apache-2.0 */
/* What a verified token says: its JSON object, kept as it came, numbers as digits.
 *
 * Immutable and counted; any thread. */
#ifndef WH_ACCESS_CLAIMS_H
#define WH_ACCESS_CLAIMS_H

#include "json/json.h"

struct access_claims;

/* Copy the JSON object `text`. WH_ESYNTAX with a cause in e: no object, or a member stands there
 * twice; -ENOMEM, WH_ELIMIT. reader: any, used until this returns. */
int access_claims_new(struct json_reader *reader, struct slice text, struct access_claims **out,
                      struct err *e) WH_MUST_CHECK;
struct access_claims *access_claims_ref(struct access_claims *c);
void access_claims_unref(struct access_claims *c); /* NULL is fine */

const struct json_doc *access_claims_doc(const struct access_claims *c);

/* The value at a dot path such as "app_metadata.role": objects only, segments split on ".". NULL
 * when there is none, or c is NULL. Valid as long as c. */
const struct json_node *access_claims_find(const struct access_claims *c, struct slice path);

/* Append the string at path, escapes resolved. False, and nothing appended: absent or no string. */
bool access_claims_string(const struct access_claims *c, struct slice path, struct buf *out);

#endif
