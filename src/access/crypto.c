/* SPDX-License-Identifier: Apache-2.0 */
#include "access/crypto.h"

#include "base/magic.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/md.h>
#include <mbedtls/rsa.h>

/* Every key is made into mbedtls' form anew for each signature. That costs some microseconds beside
 * the verification, verified tokens are remembered, and in return no state is shared by threads. */

static const mbedtls_md_type_t md_types[] = {MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384,
                                             MBEDTLS_MD_SHA512};
static const mbedtls_ecp_group_id group_ids[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_SECP384R1,
                                                 MBEDTLS_ECP_DP_SECP521R1};

static const unsigned char *bytes_of(struct slice s)
{
    return (const unsigned char *)s.ptr;
}

size_t access_hash_bytes(enum access_hash hash)
{
    static const size_t sizes[] = {32, 48, 64};
    return sizes[hash];
}

size_t access_curve_bytes(enum access_curve curve)
{
    static const size_t sizes[] = {32, 48, 66};
    return sizes[curve];
}

static void digest(enum access_hash hash, struct slice data, uint8_t *out)
{
    /* Cannot fail: the hash exists and no memory is asked for. */
    must(mbedtls_md(mbedtls_md_info_from_type(md_types[hash]), bytes_of(data), data.len, out) == 0);
}

void access_sha256(struct slice data, uint8_t out[ACCESS_SHA256_BYTES])
{
    digest(ACCESS_SHA256, data, out);
}

void access_hmac(enum access_hash hash, struct slice key, struct slice data,
                 uint8_t out[ACCESS_HASH_BYTES_MAX])
{
    /* Its one failure is memory for the inner state; without it nothing can be told apart. */
    must(mbedtls_md_hmac(mbedtls_md_info_from_type(md_types[hash]), bytes_of(key), key.len,
                         bytes_of(data), data.len, out) == 0);
}

bool access_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b; /* volatile: the loop must not end early */
    uint8_t differ = 0;
    for (size_t i = 0; i < n; i++)
        differ = (uint8_t)(differ | (x[i] ^ y[i]));
    return differ == 0;
}

/* ---- RSA ------------------------------------------------------------------------------------- */

static bool rsa_load(mbedtls_rsa_context *rsa, struct slice n, struct slice e)
{
    return n.len >= ACCESS_RSA_BITS_MIN / 8 && n.len <= ACCESS_RSA_BITS_MAX / 8 && e.len > 0 &&
           e.len <= ACCESS_RSA_EXPONENT_MAX &&
           mbedtls_rsa_import_raw(rsa, bytes_of(n), n.len, NULL, 0, NULL, 0, NULL, 0, bytes_of(e),
                                  e.len) == 0 &&
           mbedtls_rsa_complete(rsa) == 0 && mbedtls_rsa_check_pubkey(rsa) == 0 &&
           mbedtls_mpi_bitlen(&rsa->N) >= ACCESS_RSA_BITS_MIN;
}

bool access_rsa_usable(struct slice n, struct slice e)
{
    mbedtls_rsa_context rsa;
    mbedtls_rsa_init(&rsa, MBEDTLS_RSA_PKCS_V15, 0);
    bool good = rsa_load(&rsa, n, e);
    mbedtls_rsa_free(&rsa);
    return good;
}

bool access_rsa_verify(enum access_hash hash, bool pss, struct slice n, struct slice e,
                       struct slice data, struct slice signature)
{
    uint8_t sum[ACCESS_HASH_BYTES_MAX];
    unsigned len = (unsigned)access_hash_bytes(hash);
    mbedtls_md_type_t md = md_types[hash];
    mbedtls_rsa_context rsa;
    mbedtls_rsa_init(&rsa, pss ? MBEDTLS_RSA_PKCS_V21 : MBEDTLS_RSA_PKCS_V15, pss ? (int)md : 0);
    digest(hash, data, sum);
    bool good = rsa_load(&rsa, n, e) && signature.len == mbedtls_rsa_get_len(&rsa);
    if (good && pss)
        good = mbedtls_rsa_rsassa_pss_verify_ext(&rsa, NULL, NULL, MBEDTLS_RSA_PUBLIC, md, len, sum,
                                                 md, (int)len, bytes_of(signature)) == 0;
    else if (good)
        good = mbedtls_rsa_rsassa_pkcs1_v15_verify(&rsa, NULL, NULL, MBEDTLS_RSA_PUBLIC, md, len,
                                                   sum, bytes_of(signature)) == 0;
    mbedtls_rsa_free(&rsa);
    return good;
}

/* ---- elliptic curves ------------------------------------------------------------------------- */

static bool ec_load(mbedtls_ecp_group *group, mbedtls_ecp_point *q, enum access_curve curve,
                    struct slice x, struct slice y)
{
    uint8_t point[1 + 2 * ACCESS_EC_BYTES_MAX] = {4}; /* uncompressed */
    size_t n = access_curve_bytes(curve);
    if (x.len != n || y.len != n)
        return false;
    memcpy(point + 1, x.ptr, n);
    memcpy(point + 1 + n, y.ptr, n);
    return mbedtls_ecp_group_load(group, group_ids[curve]) == 0 &&
           mbedtls_ecp_point_read_binary(group, q, point, 1 + 2 * n) == 0 &&
           mbedtls_ecp_check_pubkey(group, q) == 0;
}

bool access_ec_usable(enum access_curve curve, struct slice x, struct slice y)
{
    mbedtls_ecp_group group;
    mbedtls_ecp_point q;
    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&q);
    bool good = ec_load(&group, &q, curve, x, y);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&group);
    return good;
}

bool access_ec_verify(enum access_hash hash, enum access_curve curve, struct slice x,
                      struct slice y, struct slice data, struct slice signature)
{
    uint8_t sum[ACCESS_HASH_BYTES_MAX];
    size_t n = access_curve_bytes(curve);
    mbedtls_ecp_group group;
    mbedtls_ecp_point q;
    mbedtls_mpi r, s;
    if (signature.len != 2 * n)
        return false;
    digest(hash, data, sum);
    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&q);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    bool good = ec_load(&group, &q, curve, x, y) &&
                mbedtls_mpi_read_binary(&r, bytes_of(signature), n) == 0 &&
                mbedtls_mpi_read_binary(&s, bytes_of(signature) + n, n) == 0 &&
                mbedtls_ecdsa_verify(&group, sum, access_hash_bytes(hash), &q, &r, &s) == 0;
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&group);
    return good;
}
