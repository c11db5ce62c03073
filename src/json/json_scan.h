/* SPDX-License-Identifier: Apache-2.0 */
/* The short way through the usual record, and what it shares with the long one. Private to this
 * room. */
#ifndef WH_JSON_JSON_SCAN_H
#define WH_JSON_JSON_SCAN_H

#include "base/le.h"
#include "json/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /* Keys of a shape; longer ones, and those of further members, are searched for their end. */
    JSON_SHAPE_KEYS = 64,
    JSON_SHAPE_KEY_BYTES = 16, /* a key with the quote and the colon behind it */
    /* Longer records go the long way at once. */
    JSON_SCAN_BYTES_MAX = 64 * 1024
};

/* The keys of the record before, in their order: records of one stream mostly have the same, so a
 * key is compared and not searched for. All zero is a shape without keys. A wrong guess costs only
 * time. */
struct json_shape {
    struct json_shape_key {
        char text[JSON_SHAPE_KEY_BYTES]; /* as it stands in the record: key":  */
        uint64_t mask[2];                /* the bytes of it that count */
        uint32_t len;                    /* of the key; 0: none is known */
    } keys[JSON_SHAPE_KEYS];
};

/* Nodes for the record that text[0…len) starts with, when it is an object with at least one member,
 * no container in it, no white space between its tokens, and nothing but ASCII: exactly those that
 * the general reader makes of it; nodes[0].len says where it ends. Returns their number. 0: it is
 * something else, or wrong, or over JSON_SCAN_BYTES_MAX, or does not fit node_cap. Reads up to
 * LIMIT_JSON_PADDING bytes beyond len. */
uint32_t json_scan_flat(struct json_shape *shape, const char *text, size_t len,
                        struct json_node *nodes, uint32_t node_cap);

static inline bool json_is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Digits at p, at most 8; as many bytes are readable. */
static inline uint32_t json_digits(const char *p)
{
    uint64_t x = le64_get(p) ^ 0x3030303030303030u;
    /* Seven bits and 0x76 carry into the eighth for 10 and more. */
    uint64_t others = (((x & 0x7f7f7f7f7f7f7f7fu) + 0x7676767676767676u) | x) & 0x8080808080808080u;
    return others == 0 ? 8 : (uint32_t)__builtin_ctzll(others) / 8;
}

/* Is p[0…len), a token that starts with '-' or a digit, a number? *flags are its node's then. */
bool json_number_valid(const char *p, size_t len, uint8_t *flags);

/* Are the escapes well formed in p[0…len), the inside of a string? */
bool json_escapes_valid(const char *p, size_t len);

#ifdef __cplusplus
}
#endif
#endif
