/* SPDX-License-Identifier: Apache-2.0 */
/* Identities of records: 16 bytes, SipHash-2-4-128 of what names the record.
 *
 * Keyed with a secret, so that nobody who chooses ids can make two of them meet. libsodium is named
 * in id.c only. */
#ifndef WH_DEDUPE_ID_H
#define WH_DEDUPE_ID_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define DEDUPE_ID_BYTES  16 /* WAL_BATCH_ID_BYTES */
#define DEDUPE_KEY_BYTES 16

struct dedupe_id {
    uint8_t bytes[DEDUPE_ID_BYTES]; /* never all zero: that stands for a record without id */
};
struct dedupe_key {
    uint8_t bytes[DEDUPE_KEY_BYTES];
};

/* The id text of a record of the table. table: up to LIMIT_NAME_BYTES; text: any length. */
void dedupe_id_of_text(const struct dedupe_key *k, struct slice table, struct slice text,
                       struct dedupe_id *out);
/* The record at this place in a request that came with an Idempotency-Key. Never equal to an id of
 * the other kind. */
void dedupe_id_of_request(const struct dedupe_key *k, struct slice table, struct slice key,
                          uint64_t ordinal, struct dedupe_id *out);

static inline bool dedupe_id_is_none(const uint8_t bytes[DEDUPE_ID_BYTES])
{
    static const uint8_t none[DEDUPE_ID_BYTES];
    return memcmp(bytes, none, sizeof(none)) == 0;
}

#endif
