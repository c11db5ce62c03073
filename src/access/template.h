/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a policy with claims in them: "org-{{ jwt.org }}" (access-control §6). */
#ifndef WH_ACCESS_TEMPLATE_H
#define WH_ACCESS_TEMPLATE_H

#include "access/claims.h"
#include "access/policy.h"
#include "base/arena.h"

/* Take text apart; parts point into text and live in the arena. False, with *why set to a static
 * text: braces that are unbalanced or hold something else than jwt.PATH, more than LIMIT_TEMPLATES
 * claims; *why NULL: no memory. */
bool access_template_parse(struct arena *a, struct slice text, struct access_value *out,
                           const char **why);

/* How a resolved text came to be: checks are stricter about claims than about literals. */
enum access_kind {
    ACCESS_LITERAL, /* without a claim in it */
    ACCESS_TEXT,    /* of a string claim, or text mixed with claims */
    ACCESS_NUMBER,  /* of a number claim: canonical */
    ACCESS_BOOLEAN
};
struct access_scalar {
    enum access_kind kind;
    struct slice text;
};
/* The values that a rule compares with. */
struct access_set {
    uint32_t count; /* 1, or for _in any number; 0: nothing matches */
    const struct access_scalar *list;
};

enum access_resolution {
    ACCESS_RESOLVED,
    ACCESS_UNRESOLVABLE, /* a claim that is absent, null, or of a kind that has no text */
    ACCESS_NO_MEMORY
};
/* Fill in the claims (NULL: none). _in takes an array for a value that is one claim. All texts live
 * in the arena, the value or the claims. */
enum access_resolution access_template_resolve(struct arena *a, const struct access_value *v,
                                               enum access_compare op,
                                               const struct access_claims *claims,
                                               struct access_set *out);

#endif
