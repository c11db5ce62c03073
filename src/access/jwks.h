/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that tokens are verified with: one shared secret, or the public keys of a JWKS document.
 *
 * The kind of set fixes the family of algorithms (access-control §2): a secret takes HS256/384/512
 * and nothing else, a JWKS takes RS/PS/ES256/384/512 and EdDSA and nothing else. "none" is in
 * neither. Immutable and counted; any thread. */
#ifndef WH_ACCESS_JWKS_H
#define WH_ACCESS_JWKS_H

#include "access/crypto.h"
#include "json/json.h"

enum access_family {
    ACCESS_HS,    /* HMAC with the secret */
    ACCESS_RS,    /* RSA PKCS #1 v1.5 */
    ACCESS_PS,    /* RSA PSS */
    ACCESS_ES,    /* ECDSA: ES256 P-256, ES384 P-384, ES512 P-521 */
    ACCESS_EDDSA, /* Ed25519 */
};

struct access_alg {
    const char *name; /* as the header spells it */
    enum access_family family;
    enum access_hash hash; /* not of EdDSA */
};

/* NULL: not one of ours. Names are matched exactly. */
const struct access_alg *access_alg_find(struct slice name);

struct access_keys;

/* A set with the shared secret. An empty secret verifies nothing. NULL: no memory. */
struct access_keys *access_keys_secret(struct slice secret);
/* A set from a JWKS document (RFC 7517). Keys that cannot be used are skipped: unknown kty, crv or
 * alg, for another use than signatures, RSA outside 2048…8192 bits, a point off its curve.
 * WH_ESYNTAX (not an object with an array "keys"), WH_ELIMIT (over LIMIT_JWKS_BYTES, or more than
 * LIMIT_JWKS_KEYS usable keys), -ENOMEM; each with a text in e. A set without usable keys is fine
 * and verifies nothing. *skipped: how many keys were not usable; may be NULL. */
int access_keys_jwks(struct json_reader *reader, struct slice text, struct access_keys **out,
                     uint32_t *skipped, struct err *e) WH_MUST_CHECK;
struct access_keys *access_keys_ref(struct access_keys *k);
void access_keys_unref(struct access_keys *k); /* NULL is fine; a secret is wiped */

uint32_t access_keys_count(const struct access_keys *k);
/* May this set verify the algorithm at all? Asked before any key is looked at. */
bool access_keys_take(const struct access_keys *k, const struct access_alg *alg);

enum access_signature {
    ACCESS_SIGNATURE_GOOD,
    ACCESS_SIGNATURE_BAD,
    ACCESS_SIGNATURE_NO_KEY /* no key of this kid and algorithm: time to fetch the document again */
};
/* Verify with the keys of this kid, or, when kid is NULL, with each key that fits the algorithm. */
enum access_signature access_keys_verify(const struct access_keys *k, const struct access_alg *alg,
                                         const struct slice *kid, struct slice data,
                                         struct slice signature);

#endif
