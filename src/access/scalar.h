/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as exact text (access-control §6): nothing passes through a double. Any thread. */
#ifndef WH_ACCESS_SCALAR_H
#define WH_ACCESS_SCALAR_H

#include "base/slice.h"
#include "schema/type.h"

#define ACCESS_NUMBER_DIGITS   100 /* in the canonical text; more is unusable */
#define ACCESS_NUMBER_EXPONENT 200 /* largest magnitude that is looked at */
#define ACCESS_NUMBER_CAP      104 /* bytes: sign, point and the digits */

/* The one decimal text of a JSON number: no exponent, no leading or trailing zeros, no trailing
 * point, no negative zero. False: text is no JSON number, or over the limits above. */
bool access_number_canonical(struct slice text, char out[ACCESS_NUMBER_CAP], size_t *len);

/* Is text a plain integer in its usual spelling: "0" or [-] and digits without leading zero? */
bool access_integer_is_plain(struct slice text);

/* -1, 0 or 1 for two canonical texts. */
int access_number_compare(struct slice a, struct slice b);
/* Where a plain integer lies: -1 below the range of t, an Int or UInt type, 0 in it, 1 above. */
int access_integer_side(const struct ch_type *t, struct slice text);

#endif
