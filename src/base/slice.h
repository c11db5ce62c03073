/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed run of bytes: pointer and length, never owned, not NUL-terminated. */
#ifndef WH_BASE_SLICE_H
#define WH_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct slice {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;      /* bytes */
};

/* A slice over a string literal. */
#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})

/* printf("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).len, (s).ptr

static inline struct slice slice_str(const char *s)
{
    return (struct slice){s, strlen(s)};
}

/* A NUL-terminated copy to free; NULL without memory. (strndup may look beyond len.) */
static inline char *slice_dup(struct slice s)
{
    char *copy = (char *)malloc(s.len + 1); /* the cast: json.cc is C++ */
    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* < 0, 0, > 0: by bytes; of two, one of which begins the other, the shorter is first. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

#endif
