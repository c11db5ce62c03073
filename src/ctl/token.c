/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl token: make a token for a shared secret, look into one. */
#include "access/jwt.h"
#include "base/limits.h"
#include "ctl/ctl.h"
#include "ctl/offline.h"
#include "io/clock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_DEFAULT_S 3600
#define TTL_MAX_S     ((int64_t)100 * 365 * 86400)
#define NS_PER_S      1000000000u
#define READER_BYTES  (2 * MIB)

static int64_t now_s(void)
{
    return (int64_t)(io_realtime_ns() / NS_PER_S);
}

/* ---- new ------------------------------------------------------------------------------------- */

struct new_options {
    const char *secret_file, *role, *claims;
    enum access_hash hash;
    int64_t ttl_s; /* 0: no exp */
};

static bool parse_hash(const char *text, enum access_hash *out)
{
    const struct access_alg *alg = access_alg_find(slice_str(text));
    if (alg == NULL || alg->family != ACCESS_HS)
        return false;
    *out = alg->hash;
    return true;
}

static bool parse_ttl(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *out = v;
    return errno == 0 && end != text && *end == '\0' && v >= 0 && v <= TTL_MAX_S;
}

/* 0 or an exit status. */
static int parse_new(int argc, char **argv, struct new_options *o)
{
    static const struct option names[] = {{"secret-file", required_argument, NULL, 's'},
                                          {"alg", required_argument, NULL, 'a'},
                                          {"role", required_argument, NULL, 'r'},
                                          {"ttl", required_argument, NULL, 't'},
                                          {"claims", required_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    int c;
    *o = (struct new_options){.hash = ACCESS_SHA256, .ttl_s = TTL_DEFAULT_S};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 's')
            o->secret_file = optarg;
        else if (c == 'r')
            o->role = optarg;
        else if (c == 'c')
            o->claims = optarg;
        else if (!(c == 'a' && parse_hash(optarg, &o->hash)) &&
                 !(c == 't' && parse_ttl(optarg, &o->ttl_s)))
            return CTL_USAGE;
    }
    return o->secret_file != NULL && optind == argc ? 0 : CTL_USAGE;
}

/* Append the claims of the token: those of --claims, then role, iat and exp unless they are there.
 */
static int put_claims(const struct new_options *o, struct json_reader *reader, struct buf *out)
{
    struct access_claims *c;
    struct err e;
    const char *given = o->claims != NULL ? o->claims : "{}";
    int64_t now = now_s();
    int rc = access_claims_new(reader, slice_str(given), &c, &e);
    if (rc != 0) {
        (void)fprintf(stderr, "wavehousectl: --claims: %s\n", e.text);
        return rc;
    }
    const struct json_doc *doc = access_claims_doc(c);
    json_put_minified(out, doc, doc->nodes);
    out->len--; /* the bracket */
    const char *comma = doc->nodes[0].count > 0 ? "," : "";
    if (o->role != NULL && access_claims_find(c, SLICE_LIT("role")) != NULL) {
        (void)fprintf(stderr, "wavehousectl: --claims has a role already: leave --role out\n");
        rc = -EINVAL;
    } else if (o->role != NULL) {
        buf_printf(out, "%s\"role\":", comma);
        buf_put_json_string(out, slice_str(o->role));
        comma = ",";
    }
    if (access_claims_find(c, SLICE_LIT("iat")) == NULL) {
        buf_printf(out, "%s\"iat\":%" PRId64, comma, now);
        comma = ",";
    }
    if (o->ttl_s > 0 && access_claims_find(c, SLICE_LIT("exp")) == NULL)
        buf_printf(out, "%s\"exp\":%" PRId64, comma, now + o->ttl_s);
    buf_put_u8(out, '}');
    access_claims_unref(c);
    return rc;
}

static int token_new(int argc, char **argv)
{
    struct new_options o;
    struct buf secret, claims, token;
    int status = parse_new(argc, argv, &o);
    if (status != 0)
        return status;
    struct json_reader *reader = json_reader_new(READER_BYTES);
    if (reader == NULL)
        return CTL_SYSTEM;
    buf_init(&secret, SIZE_MAX);
    buf_init(&claims, SIZE_MAX);
    buf_init(&token, SIZE_MAX);
    if (ctl_read_secret(o.secret_file, &secret) != 0) {
        status = CTL_SYSTEM;
    } else if (put_claims(&o, reader, &claims) != 0) {
        status = CTL_DAMAGE;
    } else {
        access_jwt_sign(o.hash, buf_slice(&secret), buf_slice(&claims), &token);
        if (token.len > LIMIT_TOKEN_BYTES) {
            (void)fprintf(stderr, "wavehousectl: the token is over 16 KiB, the longest that the "
                                  "daemon reads\n");
            status = CTL_DAMAGE;
        } else {
            (void)printf("%.*s\n", SLICE_ARG(buf_slice(&token)));
        }
    }
    buf_fini(&token);
    buf_fini(&claims);
    buf_fini(&secret);
    json_reader_free(reader);
    return status;
}

/* ---- show ------------------------------------------------------------------------------------ */

static void print_verdict(struct access_keys *keys, struct slice token, int *status)
{
    static const struct access_jwt_rules rules;
    struct access_jwt_verdict v = {.why = "out of memory"};
    struct access_jwt *jwt = access_jwt_new(keys, &rules);
    if (jwt == NULL || access_jwt_verify(jwt, token, now_s(), &v) != 0) {
        *status = CTL_SYSTEM;
    } else if (v.result == ACCESS_JWT_GOOD) {
        (void)printf("verdict  good\n");
    } else {
        (void)printf("verdict  %s: %s\n", access_jwt_message(v.result), v.why);
        *status = CTL_DAMAGE;
    }
    access_claims_unref(v.claims);
    access_jwt_free(jwt);
}

/* A decoded part on one line. What is no JSON goes out as a JSON string, so that a token cannot
 * write to a terminal whatever it likes. */
static void print_part(struct json_reader *reader, const char *name, struct buf *part)
{
    struct json_doc doc;
    struct buf line;
    buf_init(&line, SIZE_MAX);
    if (json_reader_begin(reader, part->ptr, part->len, JSON_ONE) == 0 &&
        json_reader_next(reader, &doc) == 0 && !json_reader_trailing(reader))
        json_put_minified(&line, &doc, doc.nodes);
    else
        buf_put_json_string(&line, buf_slice(part));
    (void)printf("%-8s %.*s\n", name, SLICE_ARG(buf_slice(&line)));
    buf_fini(&line);
}

static int show(struct slice token, struct access_keys *keys)
{
    struct buf header, claims;
    int status = CTL_OK;
    struct json_reader *reader = json_reader_new(READER_BYTES);
    if (reader == NULL)
        return CTL_SYSTEM;
    buf_init(&header, SIZE_MAX);
    buf_init(&claims, SIZE_MAX);
    if (access_jwt_decode(token, &header, &claims)) {
        print_part(reader, "header", &header);
        print_part(reader, "claims", &claims);
        if (keys == NULL)
            (void)printf("verdict  not verified: give --secret-file or --jwks\n");
    } else if (keys == NULL) {
        (void)printf("verdict  not a token: three parts of base64url joined by dots\n");
        status = CTL_DAMAGE;
    }
    if (keys != NULL)
        print_verdict(keys, token, &status);
    buf_fini(&header);
    buf_fini(&claims);
    json_reader_free(reader);
    return status;
}

static int token_show(int argc, char **argv)
{
    static const struct option names[] = {{"secret-file", required_argument, NULL, 's'},
                                          {"jwks", required_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    const char *secret_file = NULL, *jwks_file = NULL;
    struct access_keys *keys = NULL;
    struct buf token;
    int c, status = CTL_SYSTEM;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 's')
            secret_file = optarg;
        else if (c == 'j')
            jwks_file = optarg;
        else
            return CTL_USAGE;
    }
    if (optind != argc - 1 || (secret_file != NULL && jwks_file != NULL))
        return CTL_USAGE;
    buf_init(&token, SIZE_MAX);
    if ((secret_file == NULL && jwks_file == NULL) ||
        ctl_keys(secret_file, jwks_file, &keys) == 0) {
        if (ctl_token_argument(argv[optind], &token) == 0)
            status = show(buf_slice(&token), keys);
    }
    access_keys_unref(keys);
    buf_fini(&token);
    return status;
}

void ctl_token_usage(FILE *to)
{
    (void)fputs("       wavehousectl token new --secret-file FILE [--alg HS256|HS384|HS512]\n"
                "                    [--role ROLE] [--ttl SECONDS] [--claims JSON]\n"
                "       wavehousectl token show [--secret-file FILE | --jwks FILE] TOKEN|-\n",
                to);
}

int ctl_token(int argc, char **argv)
{
    int status = CTL_USAGE;
    bool help = argc >= 2 && strcmp(argv[argc - 1], "--help") == 0;
    if (!help && argc >= 2 && strcmp(argv[1], "new") == 0)
        status = token_new(argc - 1, argv + 1);
    else if (!help && argc >= 2 && strcmp(argv[1], "show") == 0)
        status = token_show(argc - 1, argv + 1);
    if (status == CTL_USAGE) {
        (void)fputs("usage:\n", help ? stdout : stderr);
        ctl_token_usage(help ? stdout : stderr);
    }
    return help ? CTL_OK : status;
}
