/* SPDX-License-Identifier: Apache-2.0 */
/* A JWKS document from a server that lies: read whole or refused with a text, and whatever keys it
 * had, nothing verifies that nobody signed. */
#include "access/jwks.h"
#include "base/limits.h"
#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"HS256", "RS256", "PS512", "ES256",
                                        "ES384", "ES512", "EdDSA"};
    static const size_t lengths[] = {32, 256, 256, 64, 96, 132, 64};
    static const char zeros[256];
    static struct json_reader *reader;
    struct access_keys *k;
    struct err e = {0};
    uint32_t skipped;
    if (reader == NULL)
        reader = json_reader_new(2 * MIB);
    int rc = access_keys_jwks(reader, (struct slice){(const char *)data, size}, &k, &skipped, &e);
    must((rc == 0) == (k != NULL) && (rc == 0) == (e.text[0] == '\0'));
    if (rc != 0)
        return 0;
    must(access_keys_count(k) <= LIMIT_JWKS_KEYS);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        must(access_keys_verify(k, access_alg_find(slice_str(names[i])), NULL, SLICE_LIT("a.b"),
                                (struct slice){zeros, lengths[i]}) != ACCESS_SIGNATURE_GOOD);
    access_keys_unref(k);
    return 0;
}
