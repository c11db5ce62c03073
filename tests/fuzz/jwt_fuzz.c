/* SPDX-License-Identifier: Apache-2.0 */
/* The input as a token, once for a secret and once for public keys, and as the claims of a token
 * that we sign ourselves, which then must come back the same. */
#include "access/jwt.h"
#include "base/limits.h"
#include "base/magic.h"

#include "tests/unit/access_vectors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1800000000

static struct access_jwt *verifiers[2];

static void setup(void)
{
    static const struct access_jwt_rules rules;
    struct json_reader *r = json_reader_new(1 * MIB);
    struct access_keys *keys[2] = {access_keys_secret(SLICE_LIT("secret")), NULL};
    must(access_keys_jwks(r, slice_str(jwks), &keys[1], NULL, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        verifiers[i] = access_jwt_new(keys[i], &rules);
        must(verifiers[i] != NULL);
        access_keys_unref(keys[i]);
    }
    json_reader_free(r);
}

/* The same answer a second time, remembered when it was good and has an end ahead. */
static enum access_jwt_result check(struct access_jwt *v, struct slice token)
{
    struct access_jwt_verdict a, b;
    must(access_jwt_verify(v, token, NOW, &a) == 0 && access_jwt_verify(v, token, NOW, &b) == 0);
    must(a.result == b.result && (a.claims != NULL) == (a.result == ACCESS_JWT_GOOD));
    must((a.why == NULL) == (a.result == ACCESS_JWT_GOOD) &&
         (a.claims == NULL || a.claims == b.claims || !b.remembered));
    access_claims_unref(a.claims);
    access_claims_unref(b.claims);
    return a.result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {(const char *)data, size};
    struct buf token, header, claims;
    if (verifiers[0] == NULL)
        setup();
    (void)check(verifiers[0], input);
    (void)check(verifiers[1], input);
    if (size > 8 * KIB)
        return 0;
    buf_init(&token, SIZE_MAX);
    buf_init(&header, SIZE_MAX);
    buf_init(&claims, SIZE_MAX);
    access_jwt_sign(ACCESS_SHA256, SLICE_LIT("secret"), input, &token);
    (void)check(verifiers[0], buf_slice(&token));
    must(check(verifiers[1], buf_slice(&token)) == ACCESS_JWT_INVALID);
    if (size > 0)
        must(access_jwt_decode(buf_slice(&token), &header, &claims) &&
             slice_eq(buf_slice(&claims), input));
    token.ptr[token.len - 2] ^= 1; /* the last character but one carries bits of the signature */
    must(check(verifiers[0], buf_slice(&token)) == ACCESS_JWT_INVALID);
    buf_fini(&token);
    buf_fini(&header);
    buf_fini(&claims);
    return 0;
}
