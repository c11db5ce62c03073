/* SPDX-License-Identifier: Apache-2.0 */
/* One value into, out of, and between struct config, as its row of the table says. */
#include "base/magic.h"
#include "config/config_priv.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* The fields of a struct (struct config, or an entry of a map) by their row; the casts are sound
 * because type and width come from the member itself (ROW in config_priv.h). */
static void *field(void *c, size_t offset)
{
    return (char *)c + offset;
}
static const void *field_const(const void *c, size_t offset)
{
    return (const char *)c + offset;
}

static uint64_t get_number(const void *c, const struct config_key *key)
{
    const void *p = field_const(c, key->offset);
    switch (key->width) {
    case sizeof(uint16_t):
        return *(const uint16_t *)p;
    case sizeof(uint32_t):
        return *(const uint32_t *)p;
    default:
        must(key->width == sizeof(uint64_t));
        return *(const uint64_t *)p;
    }
}

static void put_number(void *c, const struct config_key *key, uint64_t v)
{
    void *p = field(c, key->offset);
    switch (key->width) {
    case sizeof(uint16_t):
        *(uint16_t *)p = (uint16_t)v;
        return;
    case sizeof(uint32_t):
        *(uint32_t *)p = (uint32_t)v;
        return;
    default:
        must(key->width == sizeof(uint64_t));
        *(uint64_t *)p = v;
    }
}

static const char *get_text(const void *c, const struct config_key *key)
{
    return *(const char *const *)field_const(c, key->offset);
}
static bool get_flag(const void *c, const struct config_key *key)
{
    return *(const bool *)field_const(c, key->offset);
}
static uint32_t get_count(const void *c, const struct config_key *key)
{
    return *(const uint32_t *)field_const(c, key->count_offset);
}

static bool is_list_type(enum config_type t)
{
    return t == CONFIG_TEXTS || t == CONFIG_ENDPOINTS;
}

/* ---- setting ---- */

/* Write what is wrong to why (WH_ERR_TEXT_CAP bytes) and return code. */
__attribute__((format(printf, 3, 4))) static int fail(char *why, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, WH_ERR_TEXT_CAP, fmt, ap);
    va_end(ap);
    return code;
}

static void format_bound(enum config_type type, uint64_t v, struct buf *out)
{
    if (type == CONFIG_SIZE)
        config_format_size(v, out);
    else if (type == CONFIG_DURATION)
        config_format_duration(v, out);
    else
        buf_printf(out, "%" PRIu64, v);
}

static int out_of_range(const struct config_key *key, char *why)
{
    struct buf b;
    buf_init(&b, WH_ERR_TEXT_CAP);
    buf_put_str(&b, "must be ");
    if (key->zero_ok)
        buf_put_str(&b, "0 or ");
    buf_put_str(&b, "from ");
    format_bound(key->type, key->min, &b);
    buf_put_str(&b, " to ");
    format_bound(key->type, key->max, &b);
    int rc = fail(why, WH_ELIMIT, "%.*s", (int)b.len, b.ptr != NULL ? b.ptr : "");
    buf_fini(&b);
    return rc;
}

static int set_number(void *c, const struct config_key *key, const struct config_item *item,
                      char *why)
{
    uint64_t v = 0;
    const char *text = NULL;
    int rc;
    if (key->type == CONFIG_SIZE)
        rc = config_parse_size(item->text, &v, &text);
    else if (key->type == CONFIG_DURATION)
        rc = config_parse_duration(item->text, &v, &text);
    else if (item->quoted)
        return fail(why, WH_ESYNTAX, "must be a number, not a quoted text");
    else
        rc = config_parse_number(item->text, &v, &text);
    if (rc == WH_ESYNTAX)
        return fail(why, rc, "%s", text);
    if (rc == WH_ELIMIT || ((v < key->min || v > key->max) && !(key->zero_ok && v == 0)))
        return out_of_range(key, why);
    put_number(c, key, v);
    return rc;
}

static int set_flag(void *c, const struct config_key *key, const struct config_item *item,
                    char *why)
{
    bool is_true = slice_eq_str(item->text, "true");
    if (item->quoted || (!is_true && !slice_eq_str(item->text, "false")))
        return fail(why, WH_ESYNTAX, "must be true or false, without quotes");
    *(bool *)field(c, key->offset) = is_true;
    return 0;
}

static int set_choice(void *c, const struct config_key *key, const struct config_item *item,
                      char *why)
{
    for (int i = 0; key->choices[i] != NULL; i++) {
        if (!slice_eq_str(item->text, key->choices[i]))
            continue;
        if (key->type == CONFIG_CHOICE)
            *(const char **)field(c, key->offset) = key->choices[i];
        else if (key->type == CONFIG_CHOICE_FLAG)
            *(bool *)field(c, key->offset) = i == 1;
        else
            memcpy(field(c, key->offset), &key->values[i], sizeof(int));
        return 0;
    }
    size_t n = (size_t)snprintf(why, WH_ERR_TEXT_CAP, "must be");
    for (int i = 0; key->choices[i] != NULL && n < WH_ERR_TEXT_CAP; i++)
        n += (size_t)snprintf(why + n, WH_ERR_TEXT_CAP - n, "%s %s", i > 0 ? " or" : "",
                              key->choices[i]);
    if (key->choices[1] == NULL && n < WH_ERR_TEXT_CAP)
        (void)snprintf(why + n, WH_ERR_TEXT_CAP - n, "; nothing else is supported by this version");
    return WH_ESYNTAX;
}

/* The character at the front of s: its bytes, and in *c its number; 0 when it is not UTF-8. */
static size_t utf8_next(struct slice s, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)s.ptr[0];
    size_t n = first < 0x80       ? 1
               : first >> 5 == 6  ? 2
               : first >> 4 == 14 ? 3
               : first >> 3 == 30 ? 4
                                  : 0;
    if (n == 0 || n > s.len)
        return 0;
    *c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        unsigned char more = (unsigned char)s.ptr[i];
        if (more >> 6 != 2)
            return 0;
        *c = *c << 6 | (more & 0x3f);
    }
    bool is_surrogate = *c >= 0xd800 && *c <= 0xdfff;
    return *c < least[n] || *c > 0x10ffff || is_surrogate ? 0 : n;
}

/* Characters that nobody sees or that end a line somewhere: control characters of both blocks, line
 * and paragraph separator, byte order mark, and the two that are none. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
           c == 0xfffe || c == 0xffff;
}

/* Checks that hold for every text: it goes into log lines, C strings and HTTP heads. */
static int check_text(const struct config_key *key, const struct config_item *item,
                      struct slice *text, char *why)
{
    uint32_t c = 0;
    *text = item->text;
    if (text->len > CONFIG_VALUE_BYTES_MAX)
        return fail(why, WH_ELIMIT, "is longer than %d bytes", CONFIG_VALUE_BYTES_MAX);
    for (size_t i = 0, n; i < text->len; i += n) {
        n = utf8_next((struct slice){text->ptr + i, text->len - i}, &c);
        if (n == 0 || is_control(c))
            return fail(why, WH_ESYNTAX, "%s (byte %zu)",
                        n == 0 ? "is not UTF-8" : "contains a control character", i + 1);
    }
    const char *must_be = key->check != NULL ? key->check(text) : NULL;
    return must_be != NULL ? fail(why, WH_ESYNTAX, "must be %s", must_be) : 0;
}

static int set_text(struct arena *arena, void *c, const struct config_key *key,
                    const struct config_item *item, char *why)
{
    struct slice text;
    int rc = check_text(key, item, &text, why);
    if (rc != 0)
        return rc;
    text = arena_dup(arena, text);
    if (text.ptr == NULL)
        return fail(why, -ENOMEM, "out of memory");
    *(const char **)field(c, key->offset) = text.ptr;
    return 0;
}

/* "host:1", "[::1]:1" */
static int parse_endpoint(struct slice s, struct config_endpoint *out, char *why)
{
    static const char form[] = "must be host:port, such as db1:9000 or [::1]:9000";
    bool bracket = s.len > 0 && s.ptr[0] == '[';
    size_t colon = s.len;
    while (colon > 0 && s.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return fail(why, WH_ESYNTAX, "%s", form);
    struct slice host = {s.ptr, colon - 1}, port = {s.ptr + colon, s.len - colon};
    if (bracket) {
        if (host.len < 3 || host.ptr[host.len - 1] != ']')
            return fail(why, WH_ESYNTAX, "%s", form);
        host = (struct slice){host.ptr + 1, host.len - 2};
    }
    if (host.len == 0 || host.len >= sizeof(out->host))
        return fail(why, WH_ESYNTAX, "%s", form);
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        if (bracket ? !isxdigit(c) && c != ':' && c != '.'
                    : !isalnum(c) && strchr("._-", c) == NULL)
            return c == ':'
                       ? fail(why, WH_ESYNTAX, "needs brackets around an IPv6 address: [::1]:9000")
                       : fail(why, WH_ESYNTAX, "%s", form);
    }
    uint64_t number = 0;
    const char *ignored;
    if (config_parse_number(port, &number, &ignored) != 0 || number < 1 || number > UINT16_MAX)
        return fail(why, WH_ESYNTAX, "needs a port from 1 to 65535 after the host: db1:9000");
    memcpy(out->host, host.ptr, host.len);
    out->host[host.len] = '\0';
    out->port = (uint16_t)number;
    return 0;
}

static int set_endpoints(struct arena *arena, void *c, const struct config_key *key,
                         const struct config_item *items, uint32_t count, char *why, uint32_t *bad)
{
    struct config_endpoint *list = arena_calloc(arena, count, sizeof(*list));
    if (list == NULL)
        return fail(why, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < count; i++) {
        *bad = i;
        int rc = parse_endpoint(items[i].text, &list[i], why);
        if (rc != 0)
            return rc;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(list[k].host, list[i].host) == 0 && list[k].port == list[i].port)
                return fail(why, WH_ESYNTAX, "names the same address twice");
    }
    *(const struct config_endpoint **)field(c, key->offset) = list;
    *(uint32_t *)field(c, key->count_offset) = count;
    return 0;
}

static int set_texts(struct arena *arena, void *c, const struct config_key *key,
                     const struct config_item *items, uint32_t count, char *why, uint32_t *bad)
{
    const char **list = arena_calloc(arena, count > 0 ? count : 1, sizeof(*list));
    if (list == NULL)
        return fail(why, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < count; i++) {
        struct slice text;
        *bad = i;
        int rc = check_text(key, &items[i], &text, why);
        if (rc != 0)
            return rc;
        text = arena_dup(arena, text);
        if (text.ptr == NULL)
            return fail(why, -ENOMEM, "out of memory");
        list[i] = text.ptr;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(list[k], list[i]) == 0)
                return fail(why, WH_ESYNTAX, "names the same entry twice");
    }
    *(const char *const **)field(c, key->offset) = list;
    *(uint32_t *)field(c, key->count_offset) = count;
    return 0;
}

int config_value_set(struct arena *arena, void *c, const struct config_key *key,
                     const struct config_item *items, uint32_t count, bool is_list, char *why,
                     uint32_t *bad)
{
    *bad = 0;
    if (is_list_type(key->type)) {
        if (count < key->min || count > key->max)
            return fail(why, WH_ELIMIT, "must have from %" PRIu64 " to %" PRIu64 " entries",
                        key->min, key->max);
        return key->type == CONFIG_TEXTS ? set_texts(arena, c, key, items, count, why, bad)
                                         : set_endpoints(arena, c, key, items, count, why, bad);
    }
    if (is_list || count != 1)
        return fail(why, WH_ESYNTAX, "must be a single value, not a list");
    switch (key->type) {
    case CONFIG_TEXT:
        return set_text(arena, c, key, items, why);
    case CONFIG_CHOICE:
    case CONFIG_CHOICE_FLAG:
    case CONFIG_CHOICE_ENUM:
        return set_choice(c, key, items, why);
    case CONFIG_FLAG:
        return set_flag(c, key, items, why);
    default:
        return set_number(c, key, items, why);
    }
}

/* ---- showing ---- */

static void format_list(const void *c, const struct config_key *key, struct buf *out)
{
    const void *list = *(const void *const *)field_const(c, key->offset);
    uint32_t count = get_count(c, key);
    buf_put_str(out, "[");
    for (uint32_t i = 0; i < count; i++) {
        buf_put_str(out, i > 0 ? ", " : "");
        if (key->type == CONFIG_TEXTS) {
            buf_put_json_string(out, slice_str(((const char *const *)list)[i]));
        } else {
            const struct config_endpoint *e = &((const struct config_endpoint *)list)[i];
            bool v6 = strchr(e->host, ':') != NULL;
            buf_printf(out, v6 ? "\"[%s]:%u\"" : "\"%s:%u\"", e->host, (unsigned)e->port);
        }
    }
    buf_put_str(out, "]");
}

static const char *choice_name(const void *c, const struct config_key *key)
{
    int v;
    memcpy(&v, field_const(c, key->offset), sizeof(v));
    for (int i = 0; key->choices[i] != NULL; i++)
        if (key->values[i] == v)
            return key->choices[i];
    must(false && "an enum value outside of its table");
    return NULL;
}

void config_value_format(const void *c, const struct config_key *key, struct buf *out)
{
    switch (key->type) {
    case CONFIG_TEXT:
        buf_put_json_string(out, slice_str(get_text(c, key)));
        return;
    case CONFIG_CHOICE:
        buf_put_str(out, get_text(c, key));
        return;
    case CONFIG_CHOICE_FLAG:
        buf_put_str(out, key->choices[get_flag(c, key) ? 1 : 0]);
        return;
    case CONFIG_CHOICE_ENUM:
        buf_put_str(out, choice_name(c, key));
        return;
    case CONFIG_FLAG:
        buf_put_str(out, get_flag(c, key) ? "true" : "false");
        return;
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        format_bound(key->type, get_number(c, key), out);
        return;
    case CONFIG_TEXTS:
    case CONFIG_ENDPOINTS:
        format_list(c, key, out);
    }
}

/* ---- copying ---- */

static int copy_list(struct arena *arena, void *to, const void *from, const struct config_key *key)
{
    uint32_t count = get_count(from, key);
    const void *list = *(const void *const *)field_const(from, key->offset);
    size_t size = key->type == CONFIG_TEXTS ? sizeof(const char *) : sizeof(struct config_endpoint);
    void *copy = arena_calloc(arena, count > 0 ? count : 1, size);
    if (copy == NULL)
        return -ENOMEM;
    if (count > 0)
        memcpy(copy, list, count * size);
    for (uint32_t i = 0; key->type == CONFIG_TEXTS && i < count; i++) {
        struct slice text = arena_dup(arena, slice_str(((const char *const *)list)[i]));
        if (text.ptr == NULL)
            return -ENOMEM;
        ((const char **)copy)[i] = text.ptr;
    }
    *(const void **)field(to, key->offset) = copy;
    *(uint32_t *)field(to, key->count_offset) = count;
    return 0;
}

int config_value_copy(struct arena *arena, void *to, const void *from, const struct config_key *key)
{
    if (is_list_type(key->type))
        return copy_list(arena, to, from, key);
    if (key->type != CONFIG_TEXT) {
        memcpy(field(to, key->offset), field_const(from, key->offset), key->width);
        return 0;
    }
    struct slice text = arena_dup(arena, slice_str(get_text(from, key)));
    if (text.ptr == NULL)
        return -ENOMEM;
    *(const char **)field(to, key->offset) = text.ptr;
    return 0;
}
