/* SPDX-License-Identifier: Apache-2.0 */
/* The cryptography of access control, behind names of ours. crypto.c is the one file that names
 * mbedtls, ed25519.c the one that names libsodium's Ed25519.
 *
 * Keys are plain bytes; nothing is kept between calls, so every function may be called from any
 * thread at a time. None blocks. */
#ifndef WH_ACCESS_CRYPTO_H
#define WH_ACCESS_CRYPTO_H

#include "base/slice.h"

#include <stdint.h>

enum access_hash {
    ACCESS_SHA256,
    ACCESS_SHA384,
    ACCESS_SHA512
};
#define ACCESS_HASH_BYTES_MAX   64
#define ACCESS_SHA256_BYTES     32
#define ACCESS_ED25519_BYTES    32   /* of a public key */
#define ACCESS_RSA_BITS_MIN     2048 /* RFC 7518 §3.3 */
#define ACCESS_RSA_BITS_MAX     8192 /* more only costs time; mbedtls' own bound */
#define ACCESS_EC_BYTES_MAX     66   /* of a coordinate: P-521 */
#define ACCESS_RSA_EXPONENT_MAX 8    /* bytes */

enum access_curve {
    ACCESS_P256,
    ACCESS_P384,
    ACCESS_P521
};

size_t access_hash_bytes(enum access_hash hash);
size_t access_curve_bytes(enum access_curve curve); /* of one coordinate */

void access_sha256(struct slice data, uint8_t out[ACCESS_SHA256_BYTES]);
/* out holds access_hash_bytes(hash) bytes. */
void access_hmac(enum access_hash hash, struct slice key, struct slice data,
                 uint8_t out[ACCESS_HASH_BYTES_MAX]);

/* Are n bytes at a and b the same? The time taken depends on n only. */
bool access_equal(const void *a, const void *b, size_t n);

/* Is this a public key to verify with: size in range, odd modulus, sensible exponent? n and e are
 * big-endian without leading zeros. */
bool access_rsa_usable(struct slice n, struct slice e);
/* RSASSA-PKCS1-v1_5, or RSASSA-PSS with MGF1 of the same hash and a salt as long as the hash. */
bool access_rsa_verify(enum access_hash hash, bool pss, struct slice n, struct slice e,
                       struct slice data, struct slice signature);

/* Is (x, y) a point of the curve? Both access_curve_bytes long, big-endian. */
bool access_ec_usable(enum access_curve curve, struct slice x, struct slice y);
/* signature: r and s, each access_curve_bytes long, one behind the other (RFC 7518 §3.4). */
bool access_ec_verify(enum access_hash hash, enum access_curve curve, struct slice x,
                      struct slice y, struct slice data, struct slice signature);

/* key: ACCESS_ED25519_BYTES. */
bool access_ed25519_verify(struct slice key, struct slice data, struct slice signature);

#endif
