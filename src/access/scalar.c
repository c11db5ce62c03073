/* SPDX-License-Identifier: Apache-2.0 */
#include "access/scalar.h"

#include "base/magic.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

struct cursor {
    const char *p, *end;
};

static bool at_digit(const struct cursor *c)
{
    return c->p < c->end && is_digit(*c->p);
}

static bool take(struct cursor *c, char a, char b)
{
    if (c->p == c->end || (*c->p != a && *c->p != b))
        return false;
    c->p++;
    return true;
}

/* The number as 0.DIGITS × 10^point, without leading and trailing zeros. */
struct decimal {
    bool negative;
    char digits[ACCESS_NUMBER_DIGITS];
    unsigned count;
    long point;
};

/* One more digit of the mantissa; *zeros counts those that may turn out to be trailing. */
static bool push(struct decimal *d, char c, unsigned long *zeros)
{
    if (c == '0') {
        *zeros += d->count > 0;
        return true;
    }
    if (d->count + *zeros >= ACCESS_NUMBER_DIGITS)
        return false;
    for (; *zeros > 0; --*zeros)
        d->digits[d->count++] = '0';
    d->digits[d->count++] = c;
    return true;
}

static bool take_exponent(struct cursor *c, long *out)
{
    bool minus = false;
    long v = 0;
    if (!take(c, '+', '+'))
        minus = take(c, '-', '-');
    if (!at_digit(c))
        return false;
    for (; at_digit(c); c->p++)
        if ((v = v * 10 + (*c->p - '0')) > ACCESS_NUMBER_EXPONENT)
            return false;
    *out = minus ? -v : v;
    return true;
}

static bool parse(struct slice text, struct decimal *d)
{
    struct cursor c = {text.ptr, text.ptr + text.len};
    unsigned long zeros = 0;
    long exponent = 0;
    d->negative = take(&c, '-', '-');
    d->count = 0;
    d->point = 0;
    if (!at_digit(&c) || (*c.p == '0' && c.end - c.p > 1 && is_digit(c.p[1])))
        return false;
    for (; at_digit(&c); c.p++) {
        if (!push(d, *c.p, &zeros))
            return false;
        d->point += d->count > 0;
    }
    if (take(&c, '.', '.')) {
        if (!at_digit(&c))
            return false;
        for (; at_digit(&c); c.p++) {
            if (!push(d, *c.p, &zeros))
                return false;
            d->point -= d->count == 0;
        }
    }
    if (take(&c, 'e', 'E') && !take_exponent(&c, &exponent))
        return false;
    d->point += exponent;
    return c.p == c.end;
}

bool access_number_canonical(struct slice text, char out[ACCESS_NUMBER_CAP], size_t *len)
{
    struct decimal d;
    if (!parse(text, &d))
        return false;
    if (d.count == 0) {
        out[0] = '0';
        *len = 1;
        return true;
    }
    long count = (long)d.count, before = d.point > 0 ? d.point : 1;
    long after = count > d.point ? count - d.point : 0;
    if (before + after > ACCESS_NUMBER_DIGITS)
        return false;
    char *p = out;
    if (d.negative)
        *p++ = '-';
    for (long i = d.point > 0 ? 0 : d.point - 1; i < d.point + after; i++) {
        if (i == d.point)
            *p++ = '.';
        *p++ = i >= 0 && i < count ? d.digits[i] : '0';
    }
    *len = (size_t)(p - out);
    return true;
}

bool access_integer_is_plain(struct slice s)
{
    size_t i = s.len > 0 && s.ptr[0] == '-';
    if (i == s.len || (s.ptr[i] == '0' && s.len != 1))
        return false;
    for (; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return false;
    return true;
}

int access_number_compare(struct slice a, struct slice b)
{
    bool minus = a.len > 0 && a.ptr[0] == '-';
    if (minus != (b.len > 0 && b.ptr[0] == '-'))
        return minus ? -1 : 1;
    if (minus) {
        struct slice t = {a.ptr + 1, a.len - 1};
        a = (struct slice){b.ptr + 1, b.len - 1};
        b = t;
    }
    const char *da = memchr(a.ptr, '.', a.len), *db = memchr(b.ptr, '.', b.len);
    size_t ia = da != NULL ? (size_t)(da - a.ptr) : a.len;
    size_t ib = db != NULL ? (size_t)(db - b.ptr) : b.len;
    if (ia != ib)
        return ia < ib ? -1 : 1;
    int order = slice_compare(a, b); /* equally long before the point: the bytes are in order */
    return (order > 0) - (order < 0);
}

static const struct {
    const char *min, *max;
} ranges[] = {
    [CH_INT8] = {"-128", "127"},
    [CH_INT16] = {"-32768", "32767"},
    [CH_INT32] = {"-2147483648", "2147483647"},
    [CH_INT64] = {"-9223372036854775808", "9223372036854775807"},
    [CH_INT128] = {"-170141183460469231731687303715884105728",
                   "170141183460469231731687303715884105727"},
    [CH_INT256] = {"-57896044618658097711785492504343953926634992332820282019728792003956564819968",
                   "57896044618658097711785492504343953926634992332820282019728792003956564819967"},
    [CH_UINT8] = {"0", "255"},
    [CH_UINT16] = {"0", "65535"},
    [CH_UINT32] = {"0", "4294967295"},
    [CH_UINT64] = {"0", "18446744073709551615"},
    [CH_UINT128] = {"0", "340282366920938463463374607431768211455"},
    [CH_UINT256] =
        {"0", "115792089237316195423570985008687907853269984665640564039457584007913129639935"},
};

int access_integer_side(const struct ch_type *t, struct slice text)
{
    must(t->kind <= CH_UINT256);
    if (access_number_compare(text, slice_str(ranges[t->kind].min)) < 0)
        return -1;
    return access_number_compare(text, slice_str(ranges[t->kind].max)) > 0;
}
