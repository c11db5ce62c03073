/* SPDX-License-Identifier: Apache-2.0 */
/* What is hashed: u8 kind | u32 tenant | u16 table_len | table | text. A text over
 * LIMIT_DEDUPE_TEXT_BYTES goes in as its own hash, so that no long buffer is needed; its kind tells
 * it from a text that happens to be those 16 bytes. */
#include "dedupe/id.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <sodium/crypto_shorthash_siphash24.h>

_Static_assert(crypto_shorthash_siphashx24_BYTES == DEDUPE_ID_BYTES, "SipHash with 128 bits");
_Static_assert(crypto_shorthash_siphashx24_KEYBYTES == DEDUPE_KEY_BYTES, "and its key");

enum {
    KIND_TEXT = 1,
    KIND_REQUEST = 2,
    KIND_LONG = 0x80 /* added: the text is a hash of the text */
};
enum {
    H_KIND = 0,
    H_TENANT = 1,
    H_TABLE_LEN = 5,
    H_TABLE = 7
};
#define ORDINAL_BYTES 8

static void siphash(const struct dedupe_key *k, const void *p, size_t n, uint8_t *out)
{
    (void)crypto_shorthash_siphashx24(out, p, n, k->bytes);
}

static void identify(const struct dedupe_key *k, unsigned kind, struct slice table,
                     struct slice text, const char *tail, size_t tail_len, struct dedupe_id *out)
{
    char message[H_TABLE + LIMIT_NAME_BYTES + LIMIT_DEDUPE_TEXT_BYTES + ORDINAL_BYTES];
    uint8_t digest[DEDUPE_ID_BYTES];
    must(table.len <= LIMIT_NAME_BYTES && tail_len <= ORDINAL_BYTES);
    if (text.len > LIMIT_DEDUPE_TEXT_BYTES) {
        siphash(k, text.ptr, text.len, digest);
        text = (struct slice){(const char *)digest, sizeof(digest)};
        kind |= KIND_LONG;
    }
    message[H_KIND] = (char)kind;
    le32_put(message + H_TENANT, 0);
    le16_put(message + H_TABLE_LEN, (uint16_t)table.len);
    memcpy(message + H_TABLE, table.ptr, table.len);
    size_t n = H_TABLE + table.len;
    memcpy(message + n, text.ptr, text.len);
    n += text.len;
    memcpy(message + n, tail, tail_len);
    n += tail_len;
    siphash(k, message, n, out->bytes);
    if (dedupe_id_is_none(out->bytes))
        out->bytes[0] = 1;
}

void dedupe_id_of_text(const struct dedupe_key *k, struct slice table, struct slice text,
                       struct dedupe_id *out)
{
    identify(k, KIND_TEXT, table, text, "", 0, out);
}

void dedupe_id_of_request(const struct dedupe_key *k, struct slice table, struct slice key,
                          uint64_t ordinal, struct dedupe_id *out)
{
    char tail[ORDINAL_BYTES];
    le64_put(tail, ordinal);
    identify(k, KIND_REQUEST, table, key, tail, sizeof(tail), out);
}
