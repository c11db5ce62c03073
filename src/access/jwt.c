/* SPDX-License-Identifier: Apache-2.0 */
#include "access/jwt.h"

#include "access/base64url.h"
#include "access/member.h"
#include "access/scalar.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define JWT_MAGIC 0x4a575456u
/* Places that a token may have in the table: the first is its hash's, the others follow it. */
#define WAYS 4

struct token {
    uint8_t hash[ACCESS_SHA256_BYTES];
    struct access_claims *claims; /* NULL: the place is free */
    int64_t exp_s;                /* INT64_MAX: never */
};

struct access_jwt {
    uint32_t magic;
    bool require_exp;
    struct slice issuer, audience; /* into rules */
    struct buf rules;
    struct access_keys *keys;
    struct json_reader *reader;
    struct buf part[3]; /* header, claims, signature of the token in hand, decoded */
    uint32_t token_count;
    uint32_t turn; /* which of the ways is given up next */
    struct token tokens[LIMIT_TOKENS];
};

struct parts {
    struct slice header, claims, signature; /* base64url */
    struct slice signed_text;               /* header.claims */
};

const char *access_jwt_message(enum access_jwt_result result)
{
    return result == ACCESS_JWT_EXPIRED ? "token expired" : "invalid token";
}

/* ---- birth and death ------------------------------------------------------------------------- */

struct access_jwt *access_jwt_new(struct access_keys *keys, const struct access_jwt_rules *rules)
{
    struct access_jwt *v = calloc(1, sizeof(*v));
    if (v == NULL)
        return NULL;
    v->magic = JWT_MAGIC;
    v->keys = access_keys_ref(keys);
    v->require_exp = rules->require_exp;
    buf_init(&v->rules, SIZE_MAX);
    for (int i = 0; i < 3; i++)
        buf_init(&v->part[i], 2 * LIMIT_TOKEN_BYTES);
    buf_put_slice(&v->rules, rules->issuer);
    buf_put_slice(&v->rules, rules->audience);
    v->issuer = (struct slice){v->rules.ptr, rules->issuer.len};
    v->audience = (struct slice){v->rules.ptr, rules->audience.len};
    if (v->rules.ptr != NULL)
        v->audience.ptr += rules->issuer.len;
    v->reader = json_reader_new(LIMIT_TOKEN_BYTES);
    if (v->reader == NULL || !buf_ok(&v->rules)) {
        access_jwt_free(v);
        return NULL;
    }
    return v;
}

void access_jwt_free(struct access_jwt *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, JWT_MAGIC);
    v->magic = 0;
    for (uint32_t i = 0; i < LIMIT_TOKENS; i++)
        access_claims_unref(v->tokens[i].claims);
    for (int i = 0; i < 3; i++)
        buf_fini(&v->part[i]);
    buf_fini(&v->rules);
    json_reader_free(v->reader);
    access_keys_unref(v->keys);
    free(v);
}

/* ---- what was verified before ---------------------------------------------------------------- */

uint32_t access_jwt_remembered(const struct access_jwt *v)
{
    CHECK_MAGIC(v, JWT_MAGIC);
    return v->token_count;
}

static struct token *place(struct access_jwt *v, const uint8_t hash[ACCESS_SHA256_BYTES],
                           uint32_t way)
{
    uint32_t at;
    memcpy(&at, hash, sizeof(at));
    return &v->tokens[(at + way) % LIMIT_TOKENS];
}

static struct token *recall(struct access_jwt *v, const uint8_t hash[ACCESS_SHA256_BYTES])
{
    for (uint32_t way = 0; way < WAYS; way++) {
        struct token *t = place(v, hash, way);
        if (t->claims != NULL && memcmp(t->hash, hash, sizeof(t->hash)) == 0)
            return t;
    }
    return NULL;
}

static void forget(struct access_jwt *v, struct token *t)
{
    access_claims_unref(t->claims);
    t->claims = NULL;
    v->token_count--;
}

static void remember(struct access_jwt *v, const uint8_t hash[ACCESS_SHA256_BYTES], int64_t exp_s,
                     int64_t now_s, struct access_claims *claims)
{
    struct token *t = NULL;
    for (uint32_t way = 0; way < WAYS && t == NULL; way++) {
        struct token *other = place(v, hash, way);
        if (other->claims != NULL && other->exp_s <= now_s)
            forget(v, other);
        if (other->claims == NULL)
            t = other;
    }
    if (t == NULL) {
        t = place(v, hash, v->turn++ % WAYS);
        forget(v, t);
    }
    memcpy(t->hash, hash, sizeof(t->hash));
    t->exp_s = exp_s;
    t->claims = access_claims_ref(claims);
    v->token_count++;
}

/* ---- the token's form ------------------------------------------------------------------------ */

static bool split(struct slice token, struct parts *p)
{
    const char *end = token.ptr + token.len;
    const char *one = token.len > 0 ? memchr(token.ptr, '.', token.len) : NULL;
    const char *two = one != NULL ? memchr(one + 1, '.', (size_t)(end - one - 1)) : NULL;
    if (two == NULL || token.len > LIMIT_TOKEN_BYTES)
        return false;
    p->header = (struct slice){token.ptr, (size_t)(one - token.ptr)};
    p->claims = (struct slice){one + 1, (size_t)(two - one - 1)};
    p->signature = (struct slice){two + 1, (size_t)(end - two - 1)};
    p->signed_text = (struct slice){token.ptr, (size_t)(two - token.ptr)};
    return p->header.len > 0 && p->claims.len > 0; /* a third dot is no base64url */
}

/* Decode into out, which is followed by the padding that the JSON reader wants. */
static bool decode(struct slice text, struct buf *out)
{
    size_t len;
    buf_reset(out);
    if (buf_reserve(out, ACCESS_BASE64URL_MAX(text.len) + LIMIT_JSON_PADDING) != 0 ||
        !access_base64url_decode(text, out->ptr, &len))
        return false;
    out->len = len;
    memset(out->ptr + len, 0, LIMIT_JSON_PADDING);
    return true;
}

bool access_jwt_decode(struct slice token, struct buf *header, struct buf *claims)
{
    struct parts p;
    struct buf signature;
    buf_init(&signature, 2 * LIMIT_TOKEN_BYTES);
    bool good = split(token, &p) && decode(p.header, header) && decode(p.claims, claims) &&
                decode(p.signature, &signature);
    buf_fini(&signature);
    return good;
}

void access_jwt_sign(enum access_hash hash, struct slice secret, struct slice claims,
                     struct buf *out)
{
    uint8_t mac[ACCESS_HASH_BYTES_MAX];
    char header[64];
    size_t start = out->len;
    int n = snprintf(header, sizeof(header), "{\"alg\":\"HS%zu\",\"typ\":\"JWT\"}",
                     access_hash_bytes(hash) * 8);
    access_base64url_put(out, (struct slice){header, (size_t)n});
    buf_put_u8(out, '.');
    access_base64url_put(out, claims);
    if (!buf_ok(out))
        return;
    access_hmac(hash, secret, (struct slice){out->ptr + start, out->len - start}, mac);
    buf_put_u8(out, '.');
    access_base64url_put(out, (struct slice){(const char *)mac, access_hash_bytes(hash)});
}

/* ---- verifying ------------------------------------------------------------------------------- */

/* What the header says, as far as it matters. */
struct header {
    const struct access_alg *alg;
    bool has_kid;
    struct slice kid; /* into the buffer kid_text */
    char kid_text[LIMIT_TOKEN_BYTES];
};

/* NULL, or what is wrong. */
static const char *read_header(struct access_jwt *v, struct header *h)
{
    struct json_doc doc;
    const struct json_node *twice;
    char alg[16];
    if (json_reader_begin(v->reader, v->part[0].ptr, v->part[0].len, JSON_ONE) != 0 ||
        json_reader_next(v->reader, &doc) != 0 || doc.nodes[0].kind != JSON_OBJECT ||
        json_reader_trailing(v->reader))
        return "the header is not a JSON object";
    if (access_duplicate_key(&doc, doc.nodes, &twice) != 0 || twice != NULL)
        return "a name stands twice in the header";
    if (access_member(&doc, doc.nodes, SLICE_LIT("crit")) != NULL)
        return "the header asks for extensions (crit) that are not known here";
    const struct json_node *n = access_member(&doc, doc.nodes, SLICE_LIT("alg"));
    if (n == NULL || n->kind != JSON_STRING || n->len > sizeof(alg))
        return "the header names no algorithm that is known here";
    h->alg = access_alg_find((struct slice){alg, json_unescape(json_raw(&doc, n), alg)});
    n = access_member(&doc, doc.nodes, SLICE_LIT("kid"));
    h->has_kid = n != NULL;
    if (n != NULL && n->kind != JSON_STRING)
        return "the header's kid is not a string";
    if (n != NULL)
        h->kid = (struct slice){h->kid_text, json_unescape(json_raw(&doc, n), h->kid_text)};
    return h->alg != NULL ? NULL : "the header names no algorithm that is known here";
}

/* Compare the number at claim `name` with now: -1, 0, 1 into *order. NULL or what is wrong; absent
 * leaves *there false. */
static const char *read_time(const struct access_claims *c, const char *name, int64_t now_s,
                             bool *there, int *order)
{
    char number[ACCESS_NUMBER_CAP], now[32];
    size_t len;
    const struct json_node *n = access_claims_find(c, slice_str(name));
    *there = n != NULL;
    if (n == NULL)
        return NULL;
    if (n->kind != JSON_NUMBER ||
        !access_number_canonical(json_raw(access_claims_doc(c), n), number, &len))
        return "exp, nbf or iat is not a number";
    int now_len = snprintf(now, sizeof(now), "%" PRId64, now_s);
    *order =
        access_number_compare((struct slice){number, len}, (struct slice){now, (size_t)now_len});
    return NULL;
}

/* The second from which on the table does not answer for a token any more: exp without its
 * fraction, up to a second early and never late. */
static int64_t expiry_of(const struct access_claims *c)
{
    char number[ACCESS_NUMBER_CAP];
    size_t len;
    int64_t v = 0;
    const struct json_node *n = access_claims_find(c, SLICE_LIT("exp"));
    if (n == NULL)
        return INT64_MAX;
    if (!access_number_canonical(json_raw(access_claims_doc(c), n), number, &len))
        return 0;
    for (size_t i = 0; i < len && number[i] != '.'; i++) {
        if (number[i] < '0' || number[i] > '9')
            return 0;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, number[i] - '0', &v))
            return INT64_MAX;
    }
    return v;
}

static bool is_in_audience(const struct access_claims *c, struct slice wanted)
{
    const struct json_doc *doc = access_claims_doc(c);
    const struct json_node *n = access_claims_find(c, SLICE_LIT("aud"));
    if (n != NULL && n->kind == JSON_ARRAY) {
        ACCESS_EACH_ELEMENT(doc, n, item)
        if (access_string_is(doc, item, wanted))
            return true;
        return false;
    }
    return n != NULL && access_string_is(doc, n, wanted);
}

static const char *check_claims(const struct access_jwt *v, const struct access_claims *c,
                                int64_t now_s, bool *expired)
{
    bool there;
    int order = 0;
    const char *why = read_time(c, "nbf", now_s, &there, &order);
    if (why == NULL && there && order > 0)
        why = "it is not valid yet (nbf)";
    if (why == NULL)
        why = read_time(c, "iat", now_s, &there, &order);
    if (why == NULL && there && order > 0)
        why = "it was issued in the future (iat)";
    if (why == NULL && v->issuer.len > 0) {
        const struct json_node *n = access_claims_find(c, SLICE_LIT("iss"));
        if (n == NULL || !access_string_is(access_claims_doc(c), n, v->issuer))
            why = "the issuer (iss) is not the configured one";
    }
    if (why == NULL && v->audience.len > 0 && !is_in_audience(c, v->audience))
        why = "the configured audience is not in it (aud)";
    if (why == NULL)
        why = read_time(c, "exp", now_s, &there, &order);
    if (why == NULL && !there && v->require_exp)
        why = "it has no exp, which auth.require_exp asks for";
    *expired = why == NULL && there && order <= 0;
    return *expired ? "it has expired (exp)" : why;
}

/* The whole way of a token that is not remembered; claims are the caller's. */
static const char *verify(struct access_jwt *v, struct slice token, int64_t now_s,
                          struct access_jwt_verdict *out, struct access_claims **claims, int *rc)
{
    struct parts p;
    struct header h = {.alg = NULL};
    if (!split(token, &p))
        return token.len > LIMIT_TOKEN_BYTES ? "it is over 16 KiB"
                                             : "it is not three parts joined by dots";
    if (!decode(p.header, &v->part[0]) || !decode(p.claims, &v->part[1]) ||
        !decode(p.signature, &v->part[2]))
        return "a part of it is not base64url";
    const char *why = read_header(v, &h);
    if (why != NULL)
        return why;
    if (!access_keys_take(v->keys, h.alg))
        return "its algorithm is of another family than the configured keys";
    enum access_signature s = access_keys_verify(v->keys, h.alg, h.has_kid ? &h.kid : NULL,
                                                 p.signed_text, buf_slice(&v->part[2]));
    out->unknown_key = s == ACCESS_SIGNATURE_NO_KEY;
    if (s != ACCESS_SIGNATURE_GOOD)
        return out->unknown_key ? "no configured key fits its kid and algorithm"
                                : "its signature is wrong";
    *rc = access_claims_new(v->reader, buf_slice(&v->part[1]), claims, NULL);
    if (*rc == -ENOMEM)
        return "out of memory";
    if (*rc != 0) {
        *rc = 0;
        return "its claims are not a JSON object with distinct names";
    }
    bool expired = false;
    why = check_claims(v, *claims, now_s, &expired);
    if (expired)
        out->result = ACCESS_JWT_EXPIRED;
    return why;
}

int access_jwt_verify(struct access_jwt *v, struct slice token, int64_t now_s,
                      struct access_jwt_verdict *out)
{
    uint8_t hash[ACCESS_SHA256_BYTES];
    struct access_claims *claims = NULL;
    int rc = 0;
    CHECK_MAGIC(v, JWT_MAGIC);
    *out = (struct access_jwt_verdict){.result = ACCESS_JWT_INVALID};
    access_sha256(token, hash);
    struct token *t = recall(v, hash);
    if (t != NULL && now_s < t->exp_s) {
        *out = (struct access_jwt_verdict){.result = ACCESS_JWT_GOOD,
                                           .remembered = true,
                                           .claims = access_claims_ref(t->claims)};
        return 0;
    }
    if (t != NULL)
        forget(v, t);
    out->why = verify(v, token, now_s, out, &claims, &rc);
    if (out->why != NULL) {
        access_claims_unref(claims);
        return rc;
    }
    out->result = ACCESS_JWT_GOOD;
    out->claims = claims;
    int64_t exp_s = expiry_of(claims);
    if (exp_s > now_s)
        remember(v, hash, exp_s, now_s, claims);
    return 0;
}
