/* SPDX-License-Identifier: Apache-2.0 */
#include "access/jwks.h"

#include "access/base64url.h"
#include "access/member.h"
#include "base/arena.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define KEYS_MAGIC  0x4b455953u
#define ARENA_BLOCK (4 * KIB)

static const struct access_alg algs[] = {
    {"HS256", ACCESS_HS, ACCESS_SHA256},    {"HS384", ACCESS_HS, ACCESS_SHA384},
    {"HS512", ACCESS_HS, ACCESS_SHA512},    {"RS256", ACCESS_RS, ACCESS_SHA256},
    {"RS384", ACCESS_RS, ACCESS_SHA384},    {"RS512", ACCESS_RS, ACCESS_SHA512},
    {"PS256", ACCESS_PS, ACCESS_SHA256},    {"PS384", ACCESS_PS, ACCESS_SHA384},
    {"PS512", ACCESS_PS, ACCESS_SHA512},    {"ES256", ACCESS_ES, ACCESS_SHA256},
    {"ES384", ACCESS_ES, ACCESS_SHA384},    {"ES512", ACCESS_ES, ACCESS_SHA512},
    {"EdDSA", ACCESS_EDDSA, ACCESS_SHA512},
};

enum key_kind {
    KEY_SECRET,
    KEY_RSA,
    KEY_EC,
    KEY_ED25519
};

struct key {
    enum key_kind kind;
    enum access_curve curve;
    bool has_kid;
    struct slice kid; /* unescaped */
    const struct access_alg
        *alg;          /* the only one it may be used for; NULL: any that fits its kind */
    struct slice a, b; /* RSA: n, e; EC: x, y; Ed25519: x; secret: the secret */
};

struct access_keys {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct arena arena;
    bool secret;
    uint32_t count;
    struct key keys[LIMIT_JWKS_KEYS];
};

const struct access_alg *access_alg_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++)
        if (slice_eq_str(name, algs[i].name))
            return &algs[i];
    return NULL;
}

/* ---- birth and death ------------------------------------------------------------------------- */

static struct access_keys *keys_new(void)
{
    struct access_keys *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    k->magic = KEYS_MAGIC;
    k->refs = 1;
    arena_init(&k->arena, ARENA_BLOCK, 2 * LIMIT_JWKS_BYTES);
    return k;
}

struct access_keys *access_keys_secret(struct slice secret)
{
    struct access_keys *k = keys_new();
    if (k == NULL)
        return NULL;
    k->secret = true;
    if (secret.len > 0) {
        k->keys[0] = (struct key){.kind = KEY_SECRET, .a = arena_dup(&k->arena, secret)};
        k->count = 1;
        if (k->keys[0].a.ptr == NULL) {
            access_keys_unref(k);
            return NULL;
        }
    }
    return k;
}

struct access_keys *access_keys_ref(struct access_keys *k)
{
    CHECK_MAGIC(k, KEYS_MAGIC);
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void access_keys_unref(struct access_keys *k)
{
    if (k == NULL)
        return;
    CHECK_MAGIC(k, KEYS_MAGIC);
    if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (k->secret && k->count > 0) {
        union { /* the arena's memory is ours to change; slices only lend it */
            const char *lent;
            char *own;
        } p = {.lent = k->keys[0].a.ptr};
        explicit_bzero(p.own, k->keys[0].a.len);
    }
    arena_fini(&k->arena);
    k->magic = 0;
    free(k);
}

uint32_t access_keys_count(const struct access_keys *k)
{
    CHECK_MAGIC(k, KEYS_MAGIC);
    return k->count;
}

/* ---- reading a document ---------------------------------------------------------------------- */

struct reading {
    struct access_keys *k;
    const struct json_doc *doc;
    bool out_of_memory;
};

/* Unescaped text of a string member; ptr NULL when it is absent, no string, or memory ran out. */
static struct slice text_of(struct reading *r, const struct json_node *obj, const char *name)
{
    const struct json_node *n = access_member(r->doc, obj, slice_str(name));
    if (n == NULL || n->kind != JSON_STRING)
        return (struct slice){NULL, 0};
    struct slice raw = json_raw(r->doc, n);
    char *p = arena_alloc(&r->k->arena, raw.len + 1);
    r->out_of_memory |= p == NULL;
    return (struct slice){p, p != NULL ? json_unescape(raw, p) : 0};
}

/* A number or coordinate in base64url; len 0 when it is not there or not readable. */
static struct slice bytes_of(struct reading *r, const struct json_node *obj, const char *name)
{
    struct slice text = text_of(r, obj, name);
    char *p = arena_alloc(&r->k->arena, ACCESS_BASE64URL_MAX(text.len));
    size_t len;
    r->out_of_memory |= p == NULL;
    if (text.ptr == NULL || p == NULL || !access_base64url_decode(text, p, &len))
        return (struct slice){NULL, 0};
    return (struct slice){p, len};
}

static struct slice without_leading_zeros(struct slice s)
{
    for (; s.len > 0 && s.ptr[0] == '\0'; s.len--)
        s.ptr++;
    return s;
}

/* "use" and "key_ops" may say that a key is for something else (RFC 7517 §4.2, §4.3). */
static bool may_verify(struct reading *r, const struct json_node *obj)
{
    const struct json_node *use = access_member(r->doc, obj, SLICE_LIT("use"));
    const struct json_node *ops = access_member(r->doc, obj, SLICE_LIT("key_ops"));
    if (use != NULL && !json_string_is(r->doc, use, "sig"))
        return false;
    if (ops == NULL)
        return true;
    if (ops->kind == JSON_ARRAY)
        ACCESS_EACH_ELEMENT(r->doc, ops, op)
    if (json_string_is(r->doc, op, "verify"))
        return true;
    return false;
}

static bool read_material(struct reading *r, const struct json_node *obj, struct key *key)
{
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    struct slice kty = text_of(r, obj, "kty"), crv = text_of(r, obj, "crv");
    if (slice_eq_str(kty, "RSA")) {
        key->kind = KEY_RSA;
        key->a = without_leading_zeros(bytes_of(r, obj, "n"));
        key->b = without_leading_zeros(bytes_of(r, obj, "e"));
        return access_rsa_usable(key->a, key->b);
    }
    if (slice_eq_str(kty, "OKP") && slice_eq_str(crv, "Ed25519")) {
        key->kind = KEY_ED25519;
        key->a = bytes_of(r, obj, "x");
        return key->a.len == ACCESS_ED25519_BYTES;
    }
    for (unsigned i = 0; i < 3 && slice_eq_str(kty, "EC"); i++) {
        if (!slice_eq_str(crv, curves[i]))
            continue;
        key->kind = KEY_EC;
        key->curve = (enum access_curve)i;
        key->a = bytes_of(r, obj, "x");
        key->b = bytes_of(r, obj, "y");
        return access_ec_usable(key->curve, key->a, key->b);
    }
    return false;
}

static bool fits(const struct key *key, const struct access_alg *alg)
{
    if (key->alg != NULL && key->alg != alg)
        return false;
    switch (key->kind) {
    case KEY_SECRET:
        return alg->family == ACCESS_HS;
    case KEY_RSA:
        return alg->family == ACCESS_RS || alg->family == ACCESS_PS;
    case KEY_EC: /* each hash has its curve */
        return alg->family == ACCESS_ES && (unsigned)alg->hash == (unsigned)key->curve;
    case KEY_ED25519:
        return alg->family == ACCESS_EDDSA;
    }
    return false;
}

/* One entry of "keys"; false when it is to be skipped. */
static bool read_key(struct reading *r, const struct json_node *obj, struct key *key)
{
    *key = (struct key){.alg = NULL};
    if (obj->kind != JSON_OBJECT || !may_verify(r, obj) || !read_material(r, obj, key))
        return false;
    if (access_member(r->doc, obj, SLICE_LIT("alg")) != NULL) {
        const struct access_alg *alg = access_alg_find(text_of(r, obj, "alg"));
        if (alg == NULL || !fits(key, alg))
            return false;
        key->alg = alg;
    }
    key->kid = text_of(r, obj, "kid");
    key->has_kid = key->kid.ptr != NULL;
    return true;
}

static int read_keys(struct access_keys *k, const struct json_doc *doc, uint32_t *skipped,
                     struct err *e)
{
    const struct json_node *list = access_member(doc, doc->nodes, SLICE_LIT("keys"));
    struct reading r = {k, doc, false};
    if (list == NULL || list->kind != JSON_ARRAY)
        return err_set(e, WH_ESYNTAX, "a JWKS document is an object with an array \"keys\"");
    ACCESS_EACH_ELEMENT(doc, list, item)
    {
        struct key key;
        bool usable = read_key(&r, item, &key);
        if (r.out_of_memory)
            return err_set(e, -ENOMEM, "out of memory");
        if (usable && k->count == LIMIT_JWKS_KEYS)
            return err_set(e, WH_ELIMIT, "the JWKS document has more than %d usable keys",
                           LIMIT_JWKS_KEYS);
        if (usable)
            k->keys[k->count++] = key;
        else
            ++*skipped;
    }
    return 0;
}

int access_keys_jwks(struct json_reader *reader, struct slice text, struct access_keys **out,
                     uint32_t *skipped, struct err *e)
{
    uint32_t ignored;
    struct json_doc doc;
    *out = NULL;
    skipped = skipped != NULL ? skipped : &ignored;
    *skipped = 0;
    if (text.len > LIMIT_JWKS_BYTES)
        return err_set(e, WH_ELIMIT, "the JWKS document is over 1 MiB");
    struct access_keys *k = keys_new();
    char *padded = calloc(1, text.len + LIMIT_JSON_PADDING);
    int rc = -ENOMEM;
    if (k == NULL || padded == NULL) {
        (void)err_set(e, rc, "out of memory");
        goto done;
    }
    if (text.len > 0)
        memcpy(padded, text.ptr, text.len);
    rc = json_reader_begin(reader, padded, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc != 0) {
        rc = err_set(e, rc == WH_EEND ? WH_ESYNTAX : rc, "the JWKS document is not JSON: %s",
                     rc == WH_EEND ? "it is empty" : err_text(rc));
        goto done;
    }
    rc = read_keys(k, &doc, skipped, e);
    if (rc == 0) {
        *out = k;
        k = NULL;
    }
done:
    free(padded);
    access_keys_unref(k);
    return rc;
}

/* ---- verifying ------------------------------------------------------------------------------- */

bool access_keys_take(const struct access_keys *k, const struct access_alg *alg)
{
    CHECK_MAGIC(k, KEYS_MAGIC);
    return alg != NULL && (alg->family == ACCESS_HS) == k->secret;
}

static bool verify_one(const struct key *key, const struct access_alg *alg, struct slice data,
                       struct slice signature)
{
    uint8_t mac[ACCESS_HASH_BYTES_MAX];
    size_t n = access_hash_bytes(alg->hash);
    switch (key->kind) {
    case KEY_SECRET:
        access_hmac(alg->hash, key->a, data, mac);
        return signature.len == n && access_equal(mac, signature.ptr, n);
    case KEY_RSA:
        return access_rsa_verify(alg->hash, alg->family == ACCESS_PS, key->a, key->b, data,
                                 signature);
    case KEY_EC:
        return access_ec_verify(alg->hash, key->curve, key->a, key->b, data, signature);
    case KEY_ED25519:
        return access_ed25519_verify(key->a, data, signature);
    }
    return false;
}

enum access_signature access_keys_verify(const struct access_keys *k, const struct access_alg *alg,
                                         const struct slice *kid, struct slice data,
                                         struct slice signature)
{
    enum access_signature result = ACCESS_SIGNATURE_NO_KEY;
    uint32_t tries = 0;
    if (!access_keys_take(k, alg))
        return ACCESS_SIGNATURE_BAD;
    for (uint32_t i = 0; i < k->count && result != ACCESS_SIGNATURE_GOOD; i++) {
        const struct key *key = &k->keys[i];
        /* A secret has no name: whatever kid a token brings is of no consequence. */
        if (!k->secret && kid != NULL && !(key->has_kid && slice_eq(key->kid, *kid)))
            continue;
        if (fits(key, alg) && tries++ < LIMIT_JWKS_TRIES)
            result = verify_one(key, alg, data, signature) ? ACCESS_SIGNATURE_GOOD
                                                           : ACCESS_SIGNATURE_BAD;
    }
    return result;
}
