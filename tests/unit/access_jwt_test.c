/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and keys: every algorithm, every reason to refuse. */
#include "access/base64url.h"
#include "access/jwt.h"
#include "access/operator.h"
#include "access/scalar.h"
#include "base/limits.h"

#include <stdlib.h>

#include "tests/lib/tap.h"
#include "tests/unit/access_vectors.h"

#define NOW 1800000000

static struct json_reader *reader;
static const struct access_jwt_rules no_rules;

static struct access_jwt *of_secret(const char *secret, const struct access_jwt_rules *rules)
{
    struct access_keys *k = access_keys_secret(slice_str(secret));
    struct access_jwt *v = access_jwt_new(k, rules);
    access_keys_unref(k);
    return v;
}

static struct access_jwt *of_jwks(const char *text)
{
    struct access_keys *k;
    struct err e;
    if (access_keys_jwks(reader, slice_str(text), &k, NULL, &e) != 0)
        return NULL;
    struct access_jwt *v = access_jwt_new(k, &no_rules);
    access_keys_unref(k);
    return v;
}

/* The verdict on a token; claims are given back at once, role says what they held. */
static struct access_jwt_verdict verdict(struct access_jwt *v, struct slice token, int64_t now_s,
                                         struct buf *role)
{
    struct access_jwt_verdict out;
    if (access_jwt_verify(v, token, now_s, &out) != 0)
        abort();
    if (role != NULL) {
        buf_reset(role);
        (void)access_claims_string(out.claims, SLICE_LIT("role"), role);
    }
    access_claims_unref(out.claims);
    return out;
}

static const char *vector(const char *name)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        if (strcmp(vectors[i].name, name) == 0)
            return vectors[i].token;
    abort();
}

/* A token with this header, signed with HS256 and "secret", whatever the header says. */
static void put_token(struct buf *out, const char *header, const char *claims)
{
    uint8_t mac[ACCESS_HASH_BYTES_MAX];
    buf_reset(out);
    access_base64url_put(out, slice_str(header));
    buf_put_u8(out, '.');
    access_base64url_put(out, slice_str(claims));
    access_hmac(ACCESS_SHA256, SLICE_LIT("secret"), buf_slice(out), mac);
    buf_put_u8(out, '.');
    access_base64url_put(out, (struct slice){(char *)mac, 32});
}

static void every_public_algorithm(void)
{
    static const char *const good[] = {"RS256", "RS384", "RS512", "PS256", "PS384",
                                       "PS512", "ES256", "ES384", "ES512", "EdDSA"};
    struct access_jwt *v = of_jwks(jwks);
    struct buf role;
    buf_init(&role, SIZE_MAX);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct slice token = slice_str(vector(good[i]));
        ok(verdict(v, token, NOW, &role).result == ACCESS_JWT_GOOD &&
               slice_eq_str(buf_slice(&role), "viewer"),
           "%s verifies", good[i]);
        char *bent = strdup(token.ptr);
        char *payload = strchr(bent, '.') + 10;
        *payload = *payload == 'A' ? 'B' : 'A';
        struct access_jwt_verdict bad = verdict(v, slice_str(bent), NOW, NULL);
        ok(bad.result == ACCESS_JWT_INVALID && !bad.unknown_key, "%s with other claims does not",
           good[i]);
        free(bent);
        bent = strdup(token.ptr);
        payload = strrchr(bent, '.') + 5;
        *payload = *payload == 'A' ? 'B' : 'A';
        ok(verdict(v, slice_str(bent), NOW, NULL).result == ACCESS_JWT_INVALID,
           "%s with another signature does not", good[i]);
        free(bent);
        ok(verdict(v, (struct slice){token.ptr, token.len - 4}, NOW, NULL).result ==
               ACCESS_JWT_INVALID,
           "%s with a shortened signature does not", good[i]);
    }
    ok(verdict(v, slice_str(vector("RS256_NOKID")), NOW, NULL).result == ACCESS_JWT_GOOD,
       "without kid every fitting key is tried");
    struct access_jwt_verdict other = verdict(v, slice_str(vector("RS256_OTHERKID")), NOW, NULL);
    ok(other.result == ACCESS_JWT_INVALID && other.unknown_key,
       "an unknown kid asks for a refetch");
    ok(verdict(v, slice_str(vector("ES256_RSAKID")), NOW, NULL).unknown_key,
       "a kid of a key of another type fits nothing");
    ok(verdict(v, slice_str(vector("PS256_SALT")), NOW, NULL).result == ACCESS_JWT_INVALID,
       "a PSS salt that is not as long as the hash");
    struct access_jwt_verdict confused = verdict(v, slice_str(vector("HS256_PEM")), NOW, NULL);
    ok(confused.result == ACCESS_JWT_INVALID && strstr(confused.why, "family") != NULL,
       "HS256 keyed with the public key is refused by family");
    access_jwt_free(v);

    v = of_secret("secret", &no_rules);
    ok(strstr(verdict(v, slice_str(vector("RS256")), NOW, NULL).why, "family") != NULL,
       "RS256 where a secret is configured is refused by family");
    access_jwt_free(v);
    buf_fini(&role);
}

static void hmac_algorithms(void)
{
    struct access_jwt *v = of_secret("secret", &no_rules), *w = of_secret("Secret", &no_rules);
    struct access_jwt *none = of_secret("", &no_rules), *keyless = of_jwks("{\"keys\":[]}");
    struct buf token;
    buf_init(&token, SIZE_MAX);
    for (int h = ACCESS_SHA256; h <= ACCESS_SHA512; h++) {
        buf_reset(&token);
        access_jwt_sign((enum access_hash)h, SLICE_LIT("secret"), SLICE_LIT("{\"role\":\"a\"}"),
                        &token);
        ok(verdict(v, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_GOOD, "HS%d verifies",
           256 + 128 * h);
        ok(verdict(w, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_INVALID,
           "and not with another secret");
        ok(verdict(keyless, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_INVALID,
           "nor without keys");
    }
    buf_reset(&token);
    access_jwt_sign(ACCESS_SHA256, SLICE_LIT(""), SLICE_LIT("{}"), &token);
    ok(verdict(none, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_INVALID,
       "an empty secret verifies nothing, not even what is signed with it");
    /* RFC 7515 A.1 */
    static const char rfc_key[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    static const char rfc_token[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog"
        "Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_"
        "wW1gFWFOEjXk";
    char key[ACCESS_BASE64URL_MAX(sizeof(rfc_key))];
    size_t len;
    ok(access_base64url_decode(slice_str(rfc_key), key, &len) && len == 64, "the key of RFC 7515");
    struct access_keys *k = access_keys_secret((struct slice){key, len});
    struct access_jwt *rfc = access_jwt_new(k, &no_rules);
    ok(verdict(rfc, slice_str(rfc_token), 1300819379, NULL).result == ACCESS_JWT_GOOD,
       "the token of RFC 7515 A.1 a second before its exp");
    ok(verdict(rfc, slice_str(rfc_token), 1300819380, NULL).result == ACCESS_JWT_EXPIRED,
       "at its exp it has expired, although it was remembered");
    access_jwt_free(rfc);
    access_keys_unref(k);
    access_jwt_free(v);
    access_jwt_free(w);
    access_jwt_free(none);
    access_jwt_free(keyless);
    buf_fini(&token);
}

static void claims_and_headers(void)
{
    static const struct access_jwt_rules strict = {true, SLICE_LIT("me"), SLICE_LIT("wh")};
    static const struct {
        const char *header, *claims;
        bool strict;
        enum access_jwt_result want;
    } table[] = {
        {NULL, "{}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1800000001}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1.800000001e9}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1800000000.5}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1800000000}", false, ACCESS_JWT_EXPIRED},
        {NULL, "{\"exp\":0}", false, ACCESS_JWT_EXPIRED},
        {NULL, "{\"exp\":-1}", false, ACCESS_JWT_EXPIRED},
        {NULL, "{\"exp\":99999999999999999999999}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1e300}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":\"1900000000\"}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":null}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"nbf\":1800000000}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"nbf\":1800000000.001}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"nbf\":true}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"iat\":1800000000}", false, ACCESS_JWT_GOOD},
        {NULL, "{\"iat\":1800000001}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000000,\"nbf\":1800000001}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"role\":\"a\",\"role\":\"b\"}", false, ACCESS_JWT_INVALID},
        {NULL, "{\"role\":\"a\",\"\\u0072ole\":\"b\"}", false, ACCESS_JWT_INVALID},
        {NULL, "[]", false, ACCESS_JWT_INVALID},
        {NULL, "{} {}", false, ACCESS_JWT_INVALID},
        {NULL, "{", false, ACCESS_JWT_INVALID},
        {NULL, "", false, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":\"wh\"}", true, ACCESS_JWT_GOOD},
        {NULL, "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":[\"x\",\"wh\"]}", true, ACCESS_JWT_GOOD},
        {NULL, "{\"iss\":\"me\",\"aud\":\"wh\"}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":\"Me\",\"aud\":\"wh\"}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"aud\":\"wh\"}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":[\"me\"],\"aud\":\"wh\"}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":\"me\"}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":[]}", true, ACCESS_JWT_INVALID},
        {NULL, "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":{\"wh\":1}}", true, ACCESS_JWT_INVALID},
        {"{\"alg\":\"none\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"None\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"hs256\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"HS384\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"RS256\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"H\\u0053256\"}", "{}", false, ACCESS_JWT_GOOD},
        {"{\"alg\":[\"HS256\"]}", "{}", false, ACCESS_JWT_INVALID},
        {"{}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"HS256\",\"kid\":7}", "{}", false, ACCESS_JWT_INVALID},
        {"{\"alg\":\"HS256\",\"kid\":\"any\"}", "{}", false, ACCESS_JWT_GOOD},
        {"\"HS256\"", "{}", false, ACCESS_JWT_INVALID},
    };
    struct access_jwt *v = of_secret("secret", &no_rules), *w = of_secret("secret", &strict);
    struct buf token;
    buf_init(&token, SIZE_MAX);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *header = table[i].header != NULL ? table[i].header : "{\"alg\":\"HS256\"}";
        put_token(&token, header, table[i].claims);
        struct access_jwt_verdict got =
            verdict(table[i].strict ? w : v, buf_slice(&token), NOW, NULL);
        ok(got.result == table[i].want && (got.why == NULL) == (got.result == ACCESS_JWT_GOOD),
           "%s %s%s: %s", header, table[i].claims, table[i].strict ? " strictly" : "",
           got.why != NULL ? got.why : "good");
    }
    put_token(&token, "{\"alg\":\"HS256\"}", "{\"exp\":1}");
    token.ptr[token.len - 3] ^= 1;
    ok(verdict(v, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_INVALID,
       "a forged token is invalid before it is expired");
    is_str(access_jwt_message(ACCESS_JWT_EXPIRED), "token expired", "the client's words");
    is_str(access_jwt_message(ACCESS_JWT_INVALID), "invalid token", "the client's other words");
    access_jwt_free(v);
    access_jwt_free(w);
    buf_fini(&token);
}

static void form(void)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a",
                                      "a.b",
                                      "e30.",
                                      "e30.e30",
                                      "e30.e30.e30.",
                                      "e30=.e30.e30",
                                      " e30.e30.e30"};
    struct access_jwt *v = of_secret("secret", &no_rules);
    struct buf token;
    char text[8];
    size_t len;
    buf_init(&token, SIZE_MAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(verdict(v, slice_str(bad[i]), NOW, NULL).result == ACCESS_JWT_INVALID,
           "\"%s\" is refused", bad[i]);
    put_token(&token, "{\"alg\":\"HS256\"}", "{}");
    buf_put_str(&token, "=");
    ok(verdict(v, buf_slice(&token), NOW, NULL).result == ACCESS_JWT_INVALID, "padding is refused");
    ok(!access_base64url_decode(SLICE_LIT("Zh"), text, &len) &&
           access_base64url_decode(SLICE_LIT("Zg"), text, &len) && len == 1,
       "bits beyond the last byte must be zero: a token has one spelling");
    buf_reset(&token);
    while (token.len <= LIMIT_TOKEN_BYTES)
        buf_put_str(&token, "e30.");
    struct access_jwt_verdict large = verdict(v, buf_slice(&token), NOW, NULL);
    ok(large.result == ACCESS_JWT_INVALID && strstr(large.why, "16 KiB") != NULL,
       "a token over 16 KiB");
    access_jwt_free(v);
    buf_fini(&token);
}

static void memory_of_tokens(void)
{
    struct access_jwt *v = of_secret("secret", &no_rules);
    struct buf token;
    char claims[64];
    buf_init(&token, SIZE_MAX);
    put_token(&token, "{\"alg\":\"HS256\"}", "{\"exp\":1800000010,\"role\":\"a\"}");
    ok(!verdict(v, buf_slice(&token), NOW, NULL).remembered, "the first time is work");
    ok(verdict(v, buf_slice(&token), NOW + 9, NULL).remembered, "the second is not");
    ok(verdict(v, buf_slice(&token), NOW + 10, NULL).result == ACCESS_JWT_EXPIRED, "until exp");
    is_u64(access_jwt_remembered(v), 0, "and then it is forgotten");
    put_token(&token, "{\"alg\":\"none\"}", "{}");
    (void)verdict(v, buf_slice(&token), NOW, NULL);
    is_u64(access_jwt_remembered(v), 0, "a bad token is not remembered");
    for (int i = 0; i < 3 * LIMIT_TOKENS; i++) {
        (void)snprintf(claims, sizeof(claims), "{\"n\":%d}", i);
        put_token(&token, "{\"alg\":\"HS256\"}", claims);
        (void)verdict(v, buf_slice(&token), NOW, NULL);
    }
    ok(access_jwt_remembered(v) <= LIMIT_TOKENS && access_jwt_remembered(v) > LIMIT_TOKENS / 2,
       "many tokens: %u remembered, at most %d", access_jwt_remembered(v), LIMIT_TOKENS);
    ok(verdict(v, buf_slice(&token), NOW, NULL).remembered, "the last one among them");
    access_jwt_free(v);
    buf_fini(&token);
}

static void roles(void)
{
    static const struct {
        const char *claims, *path, *role; /* NULL: none */
    } table[] = {
        {"{\"role\":\"viewer\"}", "role", "viewer"},
        {"{\"app_metadata\":{\"role\":\"a\\u0062\"}}", "app_metadata.role", "ab"},
        {"{\"app_metadata.role\":\"x\"}", "app_metadata.role", NULL},
        {"{\"role\":[\"viewer\"]}", "role", NULL},
        {"{\"role\":[\"viewer\"]}", "role.0", NULL},
        {"{\"role\":7}", "role", NULL},
        {"{\"role\":null}", "role", NULL},
        {"{\"role\":true}", "role", NULL},
        {"{\"Role\":\"viewer\"}", "role", NULL},
        {"{\"role\":\"\"}", "role", ""},
        {"{\"a\":{\"\":{\"b\":\"x\"}}}", "a..b", "x"},
        {"{\"a\":\"x\"}", "a.b", NULL},
    };
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_claims *c;
        buf_reset(&out);
        bool found = access_claims_new(reader, slice_str(table[i].claims), &c, NULL) == 0 &&
                     access_claims_string(c, slice_str(table[i].path), &out);
        ok(found == (table[i].role != NULL) &&
               (!found || slice_eq_str(buf_slice(&out), table[i].role)),
           "%s at %s", table[i].claims, table[i].path);
        access_claims_unref(c);
    }
    buf_fini(&out);
}

static void documents(void)
{
    struct access_keys *k;
    struct err e;
    struct buf many;
    uint32_t skipped;
    ok(access_keys_jwks(reader, slice_str(jwks), &k, &skipped, &e) == 0, "a JWKS document");
    is_u64(access_keys_count(k), 5, "five usable keys");
    is_u64(skipped, 9, "nine are skipped");
    access_keys_unref(k);
    static const char *const bad[] = {
        "", "[]", "{}", "{\"keys\":{}}", "{\"keys\"", "{\"keys\":1}", "not json at all"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(access_keys_jwks(reader, slice_str(bad[i]), &k, NULL, &e) == WH_ESYNTAX && k == NULL &&
               e.text[0] != '\0',
           "\"%s\": %s", bad[i], e.text);
    buf_init(&many, SIZE_MAX);
    buf_put_str(&many, "{\"keys\":[");
    for (int i = 0; i <= LIMIT_JWKS_KEYS; i++)
        buf_printf(&many, "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}", i > 0 ? "," : "",
                   "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    buf_put_str(&many, "]}");
    ok(access_keys_jwks(reader, buf_slice(&many), &k, NULL, &e) == WH_ELIMIT, "%s", e.text);
    while (many.len <= LIMIT_JWKS_BYTES)
        buf_put_str(&many, "                                ");
    ok(access_keys_jwks(reader, buf_slice(&many), &k, NULL, &e) == WH_ELIMIT, "%s", e.text);
    buf_fini(&many);
    /* RFC 8037 A.4 */
    struct access_jwt *v = of_jwks("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                                   "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    struct access_jwt_verdict got = verdict(
        v,
        SLICE_LIT("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1"
                  "PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"),
        NOW, NULL);
    ok(got.why != NULL && strstr(got.why, "claims") != NULL,
       "RFC 8037 A.4 has a good signature over no claims");
    access_jwt_free(v);
    /* The same token, which names no key, with its key behind others. */
    for (int others = LIMIT_JWKS_TRIES - 1; others <= LIMIT_JWKS_TRIES; others++) {
        buf_init(&many, SIZE_MAX);
        buf_put_str(&many, "{\"keys\":[");
        for (int i = 0; i < others; i++)
            buf_printf(&many,
                       "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                       "\"%c1qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},",
                       'A' + i);
        buf_put_str(&many, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                           "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}\n");
        buf_put_u8(&many, '\0');
        v = of_jwks(many.ptr);
        got =
            verdict(v,
                    SLICE_LIT("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                              "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVs"
                              "Pt9g7sVvpAr_MuM0KAg"),
                    NOW, NULL);
        ok(got.why != NULL && (strstr(got.why, "claims") != NULL) == (others < LIMIT_JWKS_TRIES),
           "%d other keys: %s", others, got.why);
        access_jwt_free(v);
        buf_fini(&many);
    }
}

static void numbers(void)
{
    static const struct {
        const char *text, *want; /* NULL: unusable */
    } table[] = {
        {"0", "0"},
        {"-0", "0"},
        {"0.0", "0"},
        {"-0.000e5", "0"},
        {"1", "1"},
        {"-1", "-1"},
        {"10", "10"},
        {"1e1", "10"},
        {"1E+2", "100"},
        {"100e-2", "1"},
        {"1.50", "1.5"},
        {"0.05", "0.05"},
        {"5e-3", "0.005"},
        {"123.456e1", "1234.56"},
        {"123.456e3", "123456"},
        {"0.1e1", "1"},
        {"12e-1", "1.2"},
        {"-1.0", "-1"},
        {"0e0", "0"},
        {"1.23e-2", "0.0123"},
        {"18446744073709551616", "18446744073709551616"},
        {"01", NULL},
        {"+1", NULL},
        {"1.", NULL},
        {".5", NULL},
        {"", NULL},
        {"-", NULL},
        {"1e", NULL},
        {"0x1", NULL},
        {"1e201", NULL},
        {"1e-201", NULL},
        {"1e100", NULL},
        {"1e-100", NULL},
        {"NaN", NULL},
        {"1 ", NULL},
        {"1e99999999999999999999", NULL},
        {"1e99",
         "1000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "000000000000000"},
        {"1."
         "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "00"
         "00000000000000000000000000",
         "1"},
    };
    static const char *const ascending[] = {"-100", "-20.5", "-20", "-3", "-0.5", "0",    "0.05",
                                            "0.5",  "1",     "1.5", "2",  "10",   "10.01"};
    char out[ACCESS_NUMBER_CAP];
    size_t len, n = sizeof(ascending) / sizeof(ascending[0]);
    bool ordered = true;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool got = access_number_canonical(slice_str(table[i].text), out, &len);
        ok(got == (table[i].want != NULL) &&
               (!got || slice_eq_str((struct slice){out, len}, table[i].want)),
           "%.40s is %.40s", table[i].text, table[i].want != NULL ? table[i].want : "unusable");
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            ordered &= access_number_compare(slice_str(ascending[i]), slice_str(ascending[j])) ==
                       (i > j) - (i < j);
    ok(ordered, "canonical texts compare as numbers");
    ok(access_integer_is_plain(SLICE_LIT("-12")) && access_integer_is_plain(SLICE_LIT("0")) &&
           !access_integer_is_plain(SLICE_LIT("-0")) && !access_integer_is_plain(SLICE_LIT("")) &&
           !access_integer_is_plain(SLICE_LIT("-")) && !access_integer_is_plain(SLICE_LIT("01")) &&
           !access_integer_is_plain(SLICE_LIT("1e3")) && !access_integer_is_plain(SLICE_LIT("+1")),
       "plain integers");
}

static int equal_calls;
static size_t equal_bytes;
bool __real_access_equal(const void *a, const void *b, size_t n);
bool __wrap_access_equal(const void *a, const void *b, size_t n);
bool __wrap_access_equal(const void *a, const void *b, size_t n)
{
    equal_calls++;
    equal_bytes += n;
    return __real_access_equal(a, b, n);
}

/* Whatever is sent, however long, right at its beginning or not: two comparisons of two hashes, by
 * the function whose time depends on the length only. */
static void operator_timing(void)
{
    char text[300];
    struct access_operator two;
    bool same = true;
    memset(text, 'k', sizeof(text));
    access_operator_init(&two, (struct slice){text, 64}, SLICE_LIT("next"));
    for (size_t n = 0; n <= sizeof(text); n++) {
        for (int wrong = 0; wrong < 2; wrong++) {
            text[0] = wrong ? 'x' : 'k';
            equal_calls = 0;
            equal_bytes = 0;
            bool is = access_operator_is(&two, (struct slice){text, n});
            same = same && equal_calls == 2 && equal_bytes == 2 * ACCESS_SHA256_BYTES &&
                   is == (n == 64 && !wrong);
        }
    }
    ok(same, "operator keys of every length cost the same two comparisons");
}

static void operator_keys(void)
{
    struct access_operator none, one, two;
    access_operator_init(&none, SLICE_LIT(""), SLICE_LIT(""));
    access_operator_init(&one, SLICE_LIT("old"), SLICE_LIT(""));
    access_operator_init(&two, SLICE_LIT("old"), SLICE_LIT("new"));
    ok(!access_operator_is(&none, SLICE_LIT("")), "no key configured: not even the empty text");
    ok(access_operator_is(&one, SLICE_LIT("old")) && !access_operator_is(&one, SLICE_LIT("")) &&
           !access_operator_is(&one, SLICE_LIT("ol")) &&
           !access_operator_is(&one, SLICE_LIT("old ")),
       "one key");
    ok(access_operator_is(&two, SLICE_LIT("old")) && access_operator_is(&two, SLICE_LIT("new")) &&
           !access_operator_is(&two, SLICE_LIT("")) && !access_operator_is(&two, SLICE_LIT("Old")),
       "two keys while they are changed");
    uint8_t a[64] = {0}, b[64] = {0};
    bool all = access_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] = 0x80;
        all &= !access_equal(a, b, sizeof(a));
        b[i] = 0;
    }
    ok(all, "a difference in any byte is seen");
}

int main(void)
{
    reader = json_reader_new(2 * MIB);
    every_public_algorithm();
    hmac_algorithms();
    claims_and_headers();
    form();
    memory_of_tokens();
    roles();
    documents();
    numbers();
    operator_keys();
    operator_timing();
    json_reader_free(reader);
    return tap_done();
}
