/* SPDX-License-Identifier: Apache-2.0 */
/* Insert checks of a grant: compare what a record says, stamp what it leaves out (access-control
 * §8). */
#ifndef WH_ACCESS_CHECK_H
#define WH_ACCESS_CHECK_H

#include "access/template.h"

struct access_check_rule {
    const struct schema_column *column;
    bool one_of; /* _in: must be there and be one of the values */
    struct access_set values;
    struct slice stamp; /* ,"column":value when a record leaves the column out; not of _in. Whoever
                           knows the form that is stored may put that here instead */
};
struct access_check {
    uint32_t count;
    struct access_check_rule *rules;
};

/* Fill the checks of the grant with claims (NULL: none) for this table, once per request. WH_OK; or
 * WH_EREMOTE: no record of this caller may go in, e has the words for a 403: a claim is missing, or
 * a check names a column that is not there or is computed; or -ENOMEM. Everything in *out lives as
 * long as the arena, the table, the policy and the claims. */
int access_check_bind(struct arena *a, const struct access_grant *g,
                      const struct access_claims *claims, const struct schema_table *table,
                      struct access_check *out, struct err *e) WH_MUST_CHECK;

/* Check the object doc. NULL: it passes, and ,"column":value was appended to stamps for each
 * column that it left out. Otherwise the column whose check failed: answer
 * ACCESS_CHECK_FAILED with its name. */
const struct schema_column *access_check_record(const struct access_check *c,
                                                const struct json_doc *doc, struct buf *stamps);
#define ACCESS_CHECK_FAILED "check failed for column \"%.*s\""

/* The column that this caller may not write but the record names, into *column (raw, as spelt). To
 * be asked about what the client sent, before stamps. */
bool access_check_columns(const struct access_grant *g, const struct json_doc *doc,
                          struct slice *column);

#endif
