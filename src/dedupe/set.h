/* SPDX-License-Identifier: Apache-2.0 */
/* The ids of one request: to tell its own repeats from another request's records. One thread. */
#ifndef WH_DEDUPE_SET_H
#define WH_DEDUPE_SET_H

#include "base/err.h"
#include "dedupe/id.h"

#include <stddef.h>

struct dedupe_set {
    struct dedupe_id *slots; /* a power of two of them; none: free */
    size_t cap, count;
};

/* A zeroed set is empty. */
void dedupe_set_fini(struct dedupe_set *s);
/* Forget the ids; memory beyond keep_bytes goes. */
void dedupe_set_reset(struct dedupe_set *s, size_t keep_bytes);
int dedupe_set_add(struct dedupe_set *s, const uint8_t id[DEDUPE_ID_BYTES]) WH_MUST_CHECK;
/* By what the table keeps of an id (dedupe_id_same). */
bool dedupe_set_has(const struct dedupe_set *s, const uint8_t id[DEDUPE_ID_BYTES]);

#endif
