/* SPDX-License-Identifier: Apache-2.0 */
/* The operator key, and a second one while keys are being changed (access-control §2). */
#ifndef WH_ACCESS_OPERATOR_H
#define WH_ACCESS_OPERATOR_H

#include "base/slice.h"

#include <stdint.h>

/* A shorter key than this earns a warning at start. */
#define ACCESS_OPERATOR_KEY_BYTES_MIN 32

/* Keys as their SHA-256, so that neither their content nor their length shows in the time that a
 * comparison takes. Immutable after init: any thread. */
struct access_operator {
    uint8_t hash[2][32];
    bool present[2];
};

/* Empty keys are absent; without any, nothing matches. */
void access_operator_init(struct access_operator *o, struct slice key, struct slice second_key);

/* Is text one of the keys? Always compares with both places. */
bool access_operator_is(const struct access_operator *o, struct slice text);

#endif
