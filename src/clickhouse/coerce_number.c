/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as ClickHouse's JSON reader takes them: quoted or not, integers wrap silently, true and
 * false are 1 and 0, floats are rounded to the nearest. */
#include "base/le.h"
#include "clickhouse/columns_priv.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

int coerce_scan_int(const char **pp, const char *end, bool is_signed, uint64_t *value)
{
    const char *p = *pp;
    bool negative = false, digits = false;
    uint64_t v = 0;
    if (p < end && (*p == '-' || *p == '+')) {
        if (*p == '-' && !is_signed)
            return CHE_NUMBER;
        negative = *p == '-';
        p++;
        if (p == end || !is_digit(*p))
            return CHE_NUMBER; /* also a second sign */
    }
    for (; p < end && is_digit(*p); p++) {
        v = v * 10 + (uint64_t)(*p - '0');
        digits = true;
    }
    (void)digits;
    *value = negative ? 0 - v : v;
    *pp = p;
    return 0;
}

int coerce_scan_bool(const char **p, const char *end, bool *value)
{
    *value = **p == 't';
    size_t n = *value ? 4 : 5;
    if ((size_t)(end - *p) < n || memcmp(*p, *value ? "true" : "false", n) != 0)
        return CHE_INPUT;
    *p += n;
    return 0;
}

/* ---- 128 and 256 bits */

struct wide {
    uint64_t limb[4]; /* low first */
};

static void wide_mul_add(struct wide *w, uint64_t factor, uint64_t add)
{
    unsigned __int128 carry = add;
    for (int i = 0; i < 4; i++) {
        carry += (unsigned __int128)w->limb[i] * factor;
        w->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void wide_negate(struct wide *w)
{
    unsigned carry = 1;
    for (int i = 0; i < 4; i++) {
        w->limb[i] = ~w->limb[i] + carry;
        carry = carry != 0 && w->limb[i] == 0;
    }
}

/* digits[0…n) are characters '0'…'9'. */
static void wide_from_digits(struct wide *w, const char *digits, size_t n)
{
    *w = (struct wide){{0, 0, 0, 0}};
    while (n > 0) {
        size_t chunk = n < 18 ? n : 18;
        uint64_t v = 0, scale = 1;
        for (size_t i = 0; i < chunk; i++) {
            v = v * 10 + (uint64_t)(digits[i] - '0');
            scale *= 10;
        }
        wide_mul_add(w, scale, v);
        digits += chunk;
        n -= chunk;
    }
}

static int scan_wide(const char **pp, const char *end, bool is_signed, struct wide *w)
{
    const char *p = *pp;
    bool negative = false;
    if (p < end && (*p == '-' || *p == '+')) {
        if (*p == '-' && !is_signed)
            return CHE_NUMBER;
        negative = *p == '-';
        p++;
        if (p == end || !is_digit(*p))
            return CHE_NUMBER;
    }
    const char *digits = p;
    while (p < end && is_digit(*p))
        p++;
    wide_from_digits(w, digits, (size_t)(p - digits));
    if (negative)
        wide_negate(w);
    *pp = p;
    return 0;
}

/* ---- integers */

/* The text of a value, without the quotes of a string. *quoted tells which. */
static struct slice value_text(const struct json_doc *doc, const struct json_node *n, bool *quoted)
{
    *quoted = n->kind == JSON_STRING;
    return json_raw(doc, n);
}

/* What is left over after a value: an error by its place. */
static inline int leftover(const char *p, const char *end, bool quoted)
{
    if (p == end)
        return 0;
    return quoted ? CHE_INPUT : CHE_TRAILING;
}

static int read_int_text(struct column *c, struct slice s, bool quoted, uint64_t *value)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    int rc;
    if (p < end && (*p == 't' || *p == 'f')) {
        bool b = false;
        rc = coerce_scan_bool(&p, end, &b);
        *value = b;
    } else {
        rc = coerce_scan_int(&p, end, c->is_signed, value);
    }
    return rc != 0 ? rc : leftover(p, end, quoted);
}

/* One to eight digits at once: pairs, then fours, then all. Eight bytes at p are readable. */
static inline uint64_t short_number(const char *p, uint32_t len)
{
    uint64_t w = (le64_get(p) & 0x0f0f0f0f0f0f0f0fu) << (8 * (8 - len)); /* zeros before it */
    w = w * 10 + (w >> 8);
    return ((w & 0x000000ff000000ffu) * (100 + (1000000ull << 32)) +
            ((w >> 16) & 0x000000ff000000ffu) * (1 + (10000ull << 32))) >>
           32;
}

int coerce_int(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    uint64_t v = 0;
    if (n->kind == JSON_NUMBER &&
        (n->flags & (JSON_F_INTEGER | JSON_F_NEGATIVE)) == JSON_F_INTEGER) {
        const char *p = doc->text + n->off;
        if (n->len <= 8)
            v = short_number(p, n->len);
        else
            for (uint32_t i = 0; i < n->len; i++)
                v = v * 10 + (uint64_t)(p[i] - '0');
    } else {
        bool quoted;
        struct slice s = value_text(doc, n, &quoted);
        int rc = read_int_text(c, s, quoted, &v);
        if (rc != 0)
            return rc;
    }
    if (buf_reserve(&c->data, 8) != 0)
        return -ENOMEM;
    le64_put(c->data.ptr + c->data.len, v);
    c->data.len += c->width;
    return 0;
}

int coerce_int_wide(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    bool quoted;
    struct slice s = value_text(doc, n, &quoted);
    const char *p = s.ptr, *end = s.ptr + s.len;
    struct wide w = {{0, 0, 0, 0}};
    int rc;
    if (p < end && (*p == 't' || *p == 'f')) {
        bool b = false;
        rc = coerce_scan_bool(&p, end, &b);
        w.limb[0] = b;
    } else {
        rc = scan_wide(&p, end, c->is_signed, &w);
    }
    if (rc == 0)
        rc = leftover(p, end, quoted);
    if (rc != 0)
        return rc;
    char *dst = column_extend(c, c->width);
    if (dst == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->width / 8; i++)
        le64_put(dst + 8 * i, w.limb[i]);
    return 0;
}

int coerce_bool(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    bool v = n->kind == JSON_TRUE;
    if (n->kind == JSON_NUMBER) {
        struct slice s = json_raw(doc, n);
        if (s.ptr[0] != '0' && s.ptr[0] != '1')
            return CHE_BOOL;
        if (s.len != 1)
            return CHE_TRAILING;
        v = s.ptr[0] == '1';
    } else if (n->kind != JSON_TRUE && n->kind != JSON_FALSE) {
        return CHE_BOOL; /* strings too, even "true" */
    }
    char *dst = column_extend(c, 1);
    if (dst == NULL)
        return -ENOMEM;
    *dst = (char)v;
    return 0;
}

/* ---- floats */

/* A decimal number's parts: digits·10^exponent when there are at most 19 digits. */
struct decimal_text {
    const char *start; /* after the sign */
    const char *end;
    uint64_t digits; /* first 19 significant ones */
    int32_t exponent;
    bool exact; /* nothing was left out of digits */
};

/* [digits][.digits][e[+-]digits]; an exponent without digits is left unread. false: no number here.
 */
static bool scan_decimal_text(const char *p, const char *end, struct decimal_text *t)
{
    int count = 0, significant = 0;
    int64_t exponent = 0;
    bool point = false;
    *t = (struct decimal_text){.start = p, .exact = true};
    for (; p < end; p++) {
        if (*p == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(*p))
            break;
        count++;
        if (significant < 19) {
            t->digits = t->digits * 10 + (uint64_t)(*p - '0');
            significant += t->digits != 0;
            exponent -= point;
        } else {
            t->exact = t->exact && *p == '0';
            exponent += !point;
        }
    }
    if (count == 0)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;
        bool negative = q < end && *q == '-';
        if (q < end && (*q == '-' || *q == '+'))
            q++;
        if (q < end && is_digit(*q)) {
            int64_t e = 0;
            for (; q < end && is_digit(*q); q++)
                if (e < 1000000)
                    e = e * 10 + (*q - '0');
            exponent += negative ? -e : e;
            p = q;
        }
    }
    if (exponent > 100000)
        exponent = 100000;
    if (exponent < -100000)
        exponent = -100000;
    t->exponent = (int32_t)exponent;
    t->end = p;
    return true;
}

static const double pow10_exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Digits and power both exact in a double, so one rounding: the nearest (Clinger's fast path). */
static bool double_fast(const struct decimal_text *t, double *v)
{
    if (t->digits == 0) {
        *v = 0;
        return true;
    }
    if (!t->exact || t->digits > ((uint64_t)1 << 53) || t->exponent < -22 || t->exponent > 22)
        return false;
    *v = (double)t->digits;
    if (t->exponent < 0)
        *v /= pow10_exact[-t->exponent];
    else
        *v *= pow10_exact[t->exponent];
    return true;
}

static double to_double(const struct decimal_text *t)
{
    double v;
    /* The text goes on with a byte that is no part of a number: strtod stops where we did. */
    return double_fast(t, &v) ? v : strtod(t->start, NULL);
}

/* Through a double only when that cannot round twice: the double is not half way between floats. */
static float to_float(const struct decimal_text *t)
{
    double v;
    if (double_fast(t, &v)) {
        uint64_t bits;
        memcpy(&bits, &v, sizeof(bits));
        if (v == 0 ||
            (v >= (double)FLT_MIN && v < (double)FLT_MAX && (bits & 0x1fffffff) != 0x10000000))
            return (float)v;
    }
    return strtof(t->start, NULL);
}

/* nan, nan(…), inf, infinity in any case. Returns the bytes taken, 0 for none of them. */
static size_t scan_special(const char *p, const char *end, double *v)
{
    size_t left = (size_t)(end - p);
    if (left >= 8 && strncasecmp(p, "infinity", 8) == 0) {
        *v = HUGE_VAL;
        return 8;
    }
    if (left >= 3 && strncasecmp(p, "inf", 3) == 0) {
        *v = HUGE_VAL;
        return 3;
    }
    if (left < 3 || strncasecmp(p, "nan", 3) != 0)
        return 0;
    *v = (double)NAN;
    size_t n = 3;
    if (n < left && p[n] == '(') {
        size_t q = n + 1;
        while (q < left &&
               (is_digit(p[q]) || p[q] == '_' || (unsigned char)((p[q] | 0x20) - 'a') < 26))
            q++;
        if (q < left && p[q] == ')')
            n = q + 1;
    }
    return n;
}

/* v for Float64, f for Float32 and BFloat16; only the one asked for is computed. */
static int read_float(const struct json_doc *doc, const struct json_node *n, double *v, float *f)
{
    bool quoted, truth = false;
    struct slice s = value_text(doc, n, &quoted);
    const char *p = s.ptr, *end = s.ptr + s.len;
    struct decimal_text t;
    if (p < end && (*p == 't' || *p == 'f')) {
        int rc = coerce_scan_bool(&p, end, &truth);
        if (v != NULL)
            *v = truth;
        else
            *f = truth;
        return rc != 0 ? rc : leftover(p, end, quoted);
    }
    bool negative = p < end && *p == '-';
    if (negative || (p < end && *p == '+'))
        p++;
    double special = 0;
    size_t taken = scan_special(p, end, &special);
    if (taken > 0) {
        p += taken;
        if (v != NULL)
            *v = special;
        else
            *f = (float)special;
    } else if (scan_decimal_text(p, end, &t)) {
        p = t.end;
        if (v != NULL)
            *v = to_double(&t);
        else
            *f = to_float(&t);
    } else {
        return CHE_NUMBER;
    }
    if (negative && v != NULL)
        *v = -*v;
    else if (negative)
        *f = -*f;
    return leftover(p, end, quoted);
}

int coerce_float64(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    double v = 0;
    int rc = read_float(doc, n, &v, NULL);
    if (rc != 0)
        return rc;
    char *dst = column_extend(c, 8);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, &v, 8);
    return 0;
}

int coerce_float32(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    float v = 0;
    int rc = read_float(doc, n, NULL, &v);
    if (rc != 0)
        return rc;
    char *dst = column_extend(c, 4);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, &v, 4);
    return 0;
}

/* The high half of a Float32, cut and not rounded. */
int coerce_bfloat16(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    float v = 0;
    int rc = read_float(doc, n, NULL, &v);
    if (rc != 0)
        return rc;
    uint32_t bits;
    memcpy(&bits, &v, 4);
    char *dst = column_extend(c, 2);
    if (dst == NULL)
        return -ENOMEM;
    le16_put(dst, (uint16_t)(bits >> 16));
    return 0;
}

/* ---- decimals */

enum {
    DECIMAL_DIGITS_MAX = 76
};

struct decimal_digits {
    char digit[DECIMAL_DIGITS_MAX];
    uint32_t count;   /* ≤ precision; zeros after the point count once a digit follows them */
    int32_t exponent; /* value = digits · 10^exponent */
    bool negative;
};

static int scan_exponent(const char **pp, const char *end, int32_t *exponent)
{
    const char *p = *pp;
    bool negative = p < end && *p == '-', sign = negative || (p < end && *p == '+');
    int64_t v = 0;
    if (sign && (++p == end || !is_digit(*p)))
        return CHE_NUMBER;
    for (; p < end && is_digit(*p); p++) {
        v = v * 10 + (*p - '0');
        if (v > (int64_t)INT32_MAX + negative)
            return CHE_NUMBER;
    }
    v = *exponent + (negative ? -v : v);
    *exponent = v < INT32_MIN / 2 ? INT32_MIN / 2 : v > INT32_MAX / 2 ? INT32_MAX / 2 : (int32_t)v;
    *pp = p;
    return 0;
}

/* Digits after the point beyond the precision are cut, before the point they are an error. */
static int scan_decimal(const char **pp, const char *end, uint32_t precision,
                        struct decimal_digits *d)
{
    const char *p = *pp;
    uint32_t pending = 0; /* zeros after the point, and the digit at hand */
    bool leading = true, point = false;
    d->count = 0;
    d->exponent = 0;
    d->negative = p < end && *p == '-';
    if (d->negative || (p < end && *p == '+'))
        p++;
    for (; p < end; p++) {
        if (*p == '.') {
            point = true;
            leading = false;
            continue;
        }
        if (*p == 'e' || *p == 'E') {
            p++;
            *pp = p;
            int rc = scan_exponent(pp, end, &d->exponent);
            return rc;
        }
        if (!is_digit(*p))
            break;
        if (*p == '0' && leading)
            continue;
        pending++;
        if (*p == '0' && point)
            continue;
        leading = false;
        if (d->count + pending > precision) {
            if (!point)
                return CHE_RANGE;
            continue;
        }
        memset(d->digit + d->count, '0', pending - 1);
        d->count += pending;
        d->digit[d->count - 1] = *p;
        d->exponent -= point ? (int32_t)pending : 0;
        pending = 0;
    }
    *pp = p;
    return 0;
}

/* Scale the digits to the column: zeros behind, or digits cut. */
static int decimal_fit(struct decimal_digits *d, uint32_t precision, uint32_t scale)
{
    if ((int64_t)d->count + d->exponent > (int64_t)precision - scale)
        return CHE_RANGE;
    int64_t shift = (int64_t)scale + d->exponent;
    if (shift < 0) {
        d->count = -shift >= d->count ? 0 : d->count - (uint32_t)-shift;
    } else {
        memset(d->digit + d->count, '0', (size_t)shift);
        d->count += (uint32_t)shift;
    }
    return 0;
}

int coerce_decimal(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    bool quoted;
    struct slice s = value_text(doc, n, &quoted);
    const char *p = s.ptr, *end = s.ptr + s.len;
    struct decimal_digits d;
    int rc = scan_decimal(&p, end, c->precision, &d);
    if (rc == 0)
        rc = decimal_fit(&d, c->precision, c->scale);
    if (rc == 0)
        rc = leftover(p, end, quoted);
    if (rc != 0)
        return rc;
    struct wide w;
    wide_from_digits(&w, d.digit, d.count);
    if (d.negative)
        wide_negate(&w);
    char *dst = column_extend(c, c->width);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, w.limb, c->width); /* little-endian, base/le.h insists */
    return 0;
}
