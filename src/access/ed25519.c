/* SPDX-License-Identifier: Apache-2.0 */
#include "access/crypto.h"

#include <sodium/crypto_sign_ed25519.h>

_Static_assert(ACCESS_ED25519_BYTES == crypto_sign_ed25519_PUBLICKEYBYTES, "key size");

bool access_ed25519_verify(struct slice key, struct slice data, struct slice signature)
{
    if (key.len != ACCESS_ED25519_BYTES || signature.len != crypto_sign_ed25519_BYTES)
        return false;
    /* Needs no sodium_init: without it the portable code is used, which is fast enough here. */
    return crypto_sign_ed25519_verify_detached((const unsigned char *)signature.ptr,
                                               (const unsigned char *)data.ptr, data.len,
                                               (const unsigned char *)key.ptr) == 0;
}
