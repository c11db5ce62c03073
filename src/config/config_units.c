/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, sizes and durations as text, both ways. */
#include "config/config_priv.h"

#include <ctype.h>
#include <inttypes.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* descending, so that the first that fits is the largest */
static const struct unit size_units[] = {{"TiB", 1ull << 40}, {"TB", 1000000000000ull},
                                         {"GiB", 1ull << 30}, {"GB", 1000000000ull},
                                         {"MiB", 1ull << 20}, {"MB", 1000000ull},
                                         {"KiB", 1ull << 10}, {"KB", 1000ull},
                                         {"B", 1ull}};
#define SIZE_UNITS (sizeof(size_units) / sizeof(size_units[0]))

static const struct unit time_units[] = {
    {"d", 86400000ull}, {"h", 3600000ull}, {"m", 60000ull}, {"s", 1000ull}, {"ms", 1ull}};
#define TIME_UNITS (sizeof(time_units) / sizeof(time_units[0]))

/* The digits at the front of *text, which moves past them. Leading zeros are refused: elsewhere
 * they mean octal. 0, WH_ESYNTAX: no digit or a leading zero; WH_ELIMIT: over 64 bits. */
static int take_digits(struct slice *text, uint64_t *out)
{
    size_t n = 0;
    uint64_t v = 0;
    bool over = false;
    while (n < text->len && isdigit((unsigned char)text->ptr[n])) {
        over |= __builtin_mul_overflow(v, 10, &v);
        over |= __builtin_add_overflow(v, (uint64_t)(text->ptr[n] - '0'), &v);
        n++;
    }
    if (n == 0 || (n > 1 && text->ptr[0] == '0'))
        return WH_ESYNTAX;
    text->ptr += n;
    text->len -= n;
    *out = v;
    return over ? WH_ELIMIT : 0;
}

static struct slice take_letters(struct slice *text)
{
    size_t n = 0;
    while (n < text->len && isalpha((unsigned char)text->ptr[n]))
        n++;
    struct slice letters = {text->ptr, n};
    text->ptr += n;
    text->len -= n;
    return letters;
}

static const struct unit *unit_find(const struct unit *units, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, units[i].name))
            return &units[i];
    return NULL;
}

int config_parse_number(struct slice text, uint64_t *out, const char **why)
{
    int rc = take_digits(&text, out);
    if (rc == WH_ELIMIT && text.len == 0)
        return rc;
    *why = "must be a whole number, digits only";
    return rc == 0 && text.len == 0 ? 0 : WH_ESYNTAX;
}

int config_parse_size(struct slice text, uint64_t *out, const char **why)
{
    if (slice_eq_str(text, "0")) {
        *out = 0;
        return 0;
    }
    uint64_t n = 0;
    int rc = take_digits(&text, &n);
    struct slice letters = take_letters(&text);
    const struct unit *u = unit_find(size_units, SIZE_UNITS, letters);
    *why = "must be a whole number and a unit of B KB MB GB TB KiB MiB GiB TiB, such as 64MiB";
    if (rc == WH_ESYNTAX || u == NULL || text.len != 0)
        return WH_ESYNTAX;
    if (rc != 0 || __builtin_mul_overflow(n, u->factor, out))
        return WH_ELIMIT;
    return 0;
}

int config_parse_duration(struct slice text, uint64_t *out_ms, const char **why)
{
    const struct unit *last = NULL;
    bool over = false;
    *out_ms = 0;
    *why = "must be whole numbers with units of d h m s ms, the larger first, such as 1h30m";
    if (slice_eq_str(text, "0"))
        return 0;
    do {
        uint64_t n = 0;
        int rc = take_digits(&text, &n);
        if (rc == WH_ESYNTAX)
            return rc;
        const struct unit *u = unit_find(time_units, TIME_UNITS, take_letters(&text));
        if (u == NULL || (last != NULL && u <= last))
            return WH_ESYNTAX;
        last = u;
        over |= rc != 0 || __builtin_mul_overflow(n, u->factor, &n) ||
                __builtin_add_overflow(*out_ms, n, out_ms);
    } while (text.len > 0);
    return over ? WH_ELIMIT : 0;
}

static unsigned digits(uint64_t v)
{
    unsigned n = 1;
    for (; v >= 10; v /= 10)
        n++;
    return n;
}

/* The exact form with the fewest digits: 67108864 is 64MiB, 50000000000 is 50GB. */
void config_format_size(uint64_t bytes, struct buf *out)
{
    const struct unit *best = &size_units[SIZE_UNITS - 1];
    if (bytes == 0) {
        buf_put_str(out, "0");
        return;
    }
    for (size_t i = 0; i < SIZE_UNITS; i++)
        if (bytes % size_units[i].factor == 0 &&
            digits(bytes / size_units[i].factor) < digits(bytes / best->factor))
            best = &size_units[i];
    buf_printf(out, "%" PRIu64 "%s", bytes / best->factor, best->name);
}

void config_format_duration(uint64_t ms, struct buf *out)
{
    if (ms == 0)
        buf_put_str(out, "0s");
    for (size_t i = 0; i < TIME_UNITS; i++) {
        if (ms >= time_units[i].factor)
            buf_printf(out, "%" PRIu64 "%s", ms / time_units[i].factor, time_units[i].name);
        ms %= time_units[i].factor;
    }
}
