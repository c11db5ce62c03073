/* SPDX-License-Identifier: Apache-2.0 */
#include "access/operator.h"

#include "access/crypto.h"

void access_operator_init(struct access_operator *o, struct slice key, struct slice second_key)
{
    const struct slice keys[2] = {key, second_key};
    for (int i = 0; i < 2; i++) {
        o->present[i] = keys[i].len > 0;
        access_sha256(keys[i], o->hash[i]);
    }
}

bool access_operator_is(const struct access_operator *o, struct slice text)
{
    uint8_t hash[ACCESS_SHA256_BYTES];
    access_sha256(text, hash);
    bool one = access_equal(hash, o->hash[0], sizeof(hash));
    bool two = access_equal(hash, o->hash[1], sizeof(hash));
    /* & and |: both are looked at whatever the first says */
    return ((unsigned)one & o->present[0]) | ((unsigned)two & o->present[1]);
}
