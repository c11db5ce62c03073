/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Web Tokens in their compact form (RFC 7515, 7519), verified and remembered.
 *
 * Accepted is: three base64url parts, strictly; a header with one "alg" of the family that the keys
 * fix and without "crit"; a good signature; an object of claims without duplicate names whose exp,
 * nbf and iat, where present, are numbers on the right side of now (no leeway), and whose iss and
 * aud are what the rules ask for. The signature is checked before a claim is believed, so "expired"
 * is said only about a token that was genuine.
 *
 * A verifier belongs to one thread and to one set of keys and rules: when either changes, make a
 * new one, and nothing that was verified under the old is believed. Good tokens are remembered
 * under the SHA-256 of their text, at most LIMIT_TOKENS, never longer than their exp. */
#ifndef WH_ACCESS_JWT_H
#define WH_ACCESS_JWT_H

#include "access/claims.h"
#include "access/jwks.h"

#include <stdint.h>

struct access_jwt_rules {
    bool require_exp;      /* auth.require_exp */
    struct slice issuer;   /* auth.issuer; len 0: any */
    struct slice audience; /* auth.audience: must be among the token's; len 0: any */
};

enum access_jwt_result {
    ACCESS_JWT_GOOD,
    ACCESS_JWT_EXPIRED, /* answered "token expired" when the gate denies */
    ACCESS_JWT_INVALID  /* "invalid token" */
};

struct access_jwt_verdict {
    enum access_jwt_result result;
    const char *why;  /* for operators: what is wrong with it, static text; NULL when it is good */
    bool unknown_key; /* the JWKS has no key of this kid: fetch it again, then ask again */
    bool remembered;  /* no cryptography was needed */
    struct access_claims *claims; /* when good; one reference for the caller, else NULL */
};

struct access_jwt;

/* Takes a reference of keys; copies rules. NULL when memory runs out. */
struct access_jwt *access_jwt_new(struct access_keys *keys, const struct access_jwt_rules *rules);
void access_jwt_free(struct access_jwt *v);

/* now_s: seconds since 1970 UTC. Does not block; up to LIMIT_JWKS_TRIES signature checks for a
 * token without kid. -ENOMEM, and *out says invalid; else 0. */
int access_jwt_verify(struct access_jwt *v, struct slice token, int64_t now_s,
                      struct access_jwt_verdict *out) WH_MUST_CHECK;

/* Tokens remembered at this time. */
uint32_t access_jwt_remembered(const struct access_jwt *v);

/* The words of the answer: "invalid token" or "token expired". */
const char *access_jwt_message(enum access_jwt_result result);

/* A token's parts decoded and not verified, to be looked at: header and claims as JSON text are
 * appended to their buffers. False: not three parts of base64url. */
bool access_jwt_decode(struct slice token, struct buf *header, struct buf *claims);

/* Append a token over the claims (a JSON object), signed with the secret. */
void access_jwt_sign(enum access_hash hash, struct slice secret, struct slice claims,
                     struct buf *out);

#endif
