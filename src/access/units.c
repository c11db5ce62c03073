/* SPDX-License-Identifier: Apache-2.0 */
#include "access/units.h"

#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"ns", 1},           {"us", 1000},         {"\xc2\xb5s", 1000},
    {"\xce\xbcs", 1000}, {"ms", 1000000},      {"s", 1000000000},
    {"m", 60000000000},  {"h", 3600000000000}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"b", 1},
    {"kb", 1000},
    {"mb", 1000000},
    {"gb", 1000000000},
    {"tb", 1000000000000},
    {"kib", (uint64_t)1 << 10},
    {"mib", (uint64_t)1 << 20},
    {"gib", (uint64_t)1 << 30},
    {"tib", (uint64_t)1 << 40},
    {NULL, 0},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const struct unit *find(const struct unit *units, struct slice name)
{
    for (; units->name != NULL; units++)
        if (strlen(units->name) == name.len && strncasecmp(units->name, name.ptr, name.len) == 0)
            return units;
    return NULL;
}

/* "12.5" at the start of *s times factor: whole * factor + fraction * factor / 10^digits. */
struct number {
    uint64_t whole, fraction, scale;
};

static bool take_number(struct slice *s, struct number *n)
{
    size_t i = 0;
    *n = (struct number){0, 0, 1};
    for (; i < s->len && is_digit(s->ptr[i]); i++)
        if (__builtin_mul_overflow(n->whole, 10, &n->whole) ||
            __builtin_add_overflow(n->whole, (uint64_t)(s->ptr[i] - '0'), &n->whole))
            return false;
    if (i == 0)
        return false;
    if (i < s->len && s->ptr[i] == '.') {
        size_t first = ++i;
        for (; i < s->len && is_digit(s->ptr[i]); i++)
            if (n->scale < 1000000000) { /* beyond nine digits nothing here is visible */
                n->fraction = n->fraction * 10 + (uint64_t)(s->ptr[i] - '0');
                n->scale *= 10;
            }
        if (i == first)
            return false;
    }
    *s = (struct slice){s->ptr + i, s->len - i};
    return true;
}

static bool add(uint64_t *sum, const struct number *n, uint64_t factor)
{
    uint64_t whole;
    unsigned __int128 part = (unsigned __int128)n->fraction * factor / n->scale;
    return !__builtin_mul_overflow(n->whole, factor, &whole) &&
           !__builtin_add_overflow(whole, (uint64_t)part, &whole) &&
           !__builtin_add_overflow(*sum, whole, sum) && *sum <= INT64_MAX;
}

bool access_duration_ns(struct slice text, uint64_t *out)
{
    struct number n;
    bool first = true;
    *out = 0;
    do {
        if (!take_number(&text, &n))
            return false;
        size_t len = 0;
        while (len < text.len && !is_digit(text.ptr[len]))
            len++;
        if (len == 0 && first && text.len == 0)
            return add(out, &n, 1000000);
        const struct unit *u = find(durations, (struct slice){text.ptr, len});
        if (u == NULL || !add(out, &n, u->factor))
            return false;
        text = (struct slice){text.ptr + len, text.len - len};
        first = false;
    } while (text.len > 0);
    return true;
}

bool access_size_bytes(struct slice text, uint64_t *out)
{
    struct number n;
    *out = 0;
    if (!take_number(&text, &n))
        return false;
    if (text.len > 0 && text.ptr[0] == ' ')
        text = (struct slice){text.ptr + 1, text.len - 1};
    const struct unit *u = text.len == 0 ? &sizes[0] : find(sizes, text);
    return u != NULL && add(out, &n, u->factor);
}
