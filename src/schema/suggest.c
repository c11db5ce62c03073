/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at the sample: shapes of values, keys, different values, examples. */
#include "schema/suggest_priv.h"

#include "schema/schema_priv.h"
#include "schema/timestamp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define ARENA_BLOCK (64 * KIB)

struct suggest *suggest_new(void)
{
    struct suggest *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    arena_init(&s->arena, ARENA_BLOCK, LIMIT_SUGGEST_MEMORY);
    buf_init(&s->sql, SIZE_MAX);
    buf_init(&s->notes, SIZE_MAX);
    return s;
}

void suggest_free(struct suggest *s)
{
    if (s == NULL)
        return;
    arena_fini(&s->arena);
    buf_fini(&s->sql);
    buf_fini(&s->notes);
    free(s);
}

/* ---- numbers */

/* Digits without sign and leading zeros against a decimal limit. */
static bool exceeds(struct slice digits, const char *limit)
{
    size_t n = strlen(limit);
    return digits.len > n || (digits.len == n && memcmp(digits.ptr, limit, n) > 0);
}

static const char *const positive_limits[] = {
    "9223372036854775807",
    "18446744073709551615",
    "170141183460469231731687303715884105727",
    "340282366920938463463374607431768211455",
    "57896044618658097711785492504343953926634992332820282019728792003956564819967",
    "115792089237316195423570985008687907853269984665640564039457584007913129639935"};
static const char *const negative_limits[] = {
    "9223372036854775808", "170141183460469231731687303715884105728",
    "57896044618658097711785492504343953926634992332820282019728792003956564819968"};

static void see_int(struct shape *sh, struct slice text)
{
    sh->ints++;
    if (text.len == 1 && (*text.ptr == '0' || *text.ptr == '1'))
        sh->bits++;
    if (*text.ptr == '-') {
        struct slice digits = {text.ptr + 1, text.len - 1};
        uint8_t n = NEGATIVE_INT64;
        while (n < NEGATIVE_BEYOND && exceeds(digits, negative_limits[n - NEGATIVE_INT64]))
            n++;
        sh->negative = n > sh->negative ? n : sh->negative;
        return;
    }
    uint8_t p = sh->positive;
    while (p < POSITIVE_BEYOND && exceeds(text, positive_limits[p]))
        p++;
    sh->positive = p;
}

/* ---- strings */

/* Every record with such a form is in range: generous by a year at both ends, for the zones. */
static void see_time(struct shape *sh, struct slice s)
{
    enum {
        DATETIME_FIRST = 1971,
        DATETIME_LAST = 2105,
        DATETIME64_FIRST = 1901,
        DATETIME64_9_LAST = 2261,
        DATETIME64_LAST = 2298,
        DATE_FIRST = 1970,
        DATE_LAST = 2148
    };
    int year = 0;
    for (int i = 0; i < 4; i++)
        year = year * 10 + (s.ptr[i] - '0');
    sh->far = sh->far || year < DATETIME_FIRST || year > DATETIME_LAST;
    sh->farther = sh->farther || year > DATETIME64_9_LAST;
    sh->farthest = sh->farthest || year < DATETIME64_FIRST || year > DATETIME64_LAST;
    sh->far_date = sh->far_date || year < DATE_FIRST || year > DATE_LAST;
    const char *dot = memchr(s.ptr, '.', s.len);
    uint8_t digits = 0;
    for (size_t i = dot == NULL ? s.len : (size_t)(dot - s.ptr) + 1;
         i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && digits < UINT8_MAX; i++)
        digits++;
    sh->fraction_digits = digits > sh->fraction_digits ? digits : sh->fraction_digits;
}

static uint8_t time_forms(struct shape *sh, struct slice s)
{
    static const struct timestamp_type widest = {.is_64 = true, .precision = 9};
    char out[TIMESTAMP_CAP];
    size_t len;
    if (s.len < 10 || s.ptr[4] != '-') /* digits alone may be seconds, or anything */
        return 0;
    enum timestamp_result rc = timestamp_from_text(widest, s, NULL, out, &len);
    bool year_only = rc == TIMESTAMP_AS_IS; /* out of range, perhaps: the shorter type says */
    if (year_only && timestamp_from_text((struct timestamp_type){true, 6}, s, NULL, out, &len) ==
                         TIMESTAMP_AS_IS)
        return 0;
    see_time(sh, s);
    sh->zoneless = sh->zoneless || (rc == TIMESTAMP_NO_ZONE && s.len > 10);
    return s.len == 10 ? FORM_TIME | FORM_DATE : FORM_TIME;
}

static bool is_uuid(struct slice s)
{
    if (s.len != 36)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

static uint8_t address_forms(struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (s.len >= sizeof(text))
        return 0;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (inet_pton(AF_INET, text, bytes) == 1)
        return FORM_IPV4 | FORM_IPV6;
    return inet_pton(AF_INET6, text, bytes) == 1 ? FORM_IPV6 : 0;
}

static void see_string(struct shape *sh, struct slice raw, bool escaped)
{
    uint8_t forms = 0;
    if (sh->strings++ == 0)
        sh->forms = FORM_ALL;
    if (sh->forms == 0)
        return;
    if (!escaped && raw.len > 0)
        forms =
            (uint8_t)(time_forms(sh, raw) | (is_uuid(raw) ? FORM_UUID : 0) | address_forms(raw));
    sh->forms &= forms;
}

/* ---- arrays, objects */

static int see(struct suggest *s, struct shape *sh, const struct json_doc *doc,
               const struct json_node *n, int depth);

static int see_array(struct suggest *s, struct shape *sh, const struct json_doc *doc,
                     const struct json_node *n, int depth)
{
    const struct json_node *element = n + 1;
    if (sh->element == NULL && n->count > 0)
        sh->element = arena_calloc(&s->arena, 1, sizeof(*sh->element));
    if (sh->element == NULL && n->count > 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n->count; i++) {
        int rc = see(s, sh->element, doc, element, depth + 1);
        if (rc != 0)
            return rc;
        element = doc->nodes + element->next;
    }
    return 0;
}

/* The member of that name, a new one if need be. *out NULL: too many. */
static int member_of(struct suggest *s, struct shape *sh, struct slice name, uint32_t expected,
                     struct member **out)
{
    *out = NULL;
    for (uint32_t i = 0; i < sh->member_count; i++) {
        uint32_t at =
            expected + i < sh->member_count ? expected + i : expected + i - sh->member_count;
        if (slice_eq(sh->members[at].name, name)) {
            *out = &sh->members[at];
            return 0;
        }
    }
    if (sh->member_count == LIMIT_SUGGEST_MEMBERS)
        return 0;
    if (sh->member_count == sh->member_cap) {
        uint32_t cap = sh->member_cap == 0 ? 8 : 2 * sh->member_cap;
        struct member *more = arena_calloc(&s->arena, cap, sizeof(*more));
        if (more == NULL)
            return -ENOMEM;
        if (sh->member_count > 0)
            memcpy(more, sh->members, sh->member_count * sizeof(*more));
        sh->members = more;
        sh->member_cap = cap;
    }
    struct member *m = &sh->members[sh->member_count];
    m->name = arena_dup(&s->arena, name);
    m->shape = arena_calloc(&s->arena, 1, sizeof(*m->shape));
    if (m->name.ptr == NULL || m->shape == NULL)
        return -ENOMEM;
    sh->member_count++;
    *out = m;
    return 0;
}

static int see_object(struct suggest *s, struct shape *sh, const struct json_doc *doc,
                      const struct json_node *n, int depth)
{
    const struct json_node *key = n + 1;
    uint32_t expected = 0;
    s->empty_object = s->empty_object || n->count == 0;
    for (uint32_t i = 0; i < n->count; i++, key = doc->nodes + key[1].next) {
        struct slice name = json_raw(doc, key);
        struct member *m = NULL;
        /* Keys are compared as they stand: \u escapes are no names to ClickHouse either. */
        sh->keys_odd = sh->keys_odd || name.len == 0 || name.len > LIMIT_NAME_BYTES ||
                       (key->flags & JSON_F_ESCAPED) != 0;
        int rc = name.len > LIMIT_NAME_BYTES ? 0 : member_of(s, sh, name, expected, &m);
        if (rc != 0)
            return rc;
        sh->keys_repeated = sh->keys_repeated || (m != NULL && m->last == sh->objects);
        sh->keys_odd = sh->keys_odd || m == NULL || sh->keys_repeated;
        if (m == NULL)
            continue;
        m->last = sh->objects;
        m->seen++;
        expected = (uint32_t)(m - sh->members) + 1;
        rc = see(s, m->shape, doc, key + 1, depth + 1);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int see(struct suggest *s, struct shape *sh, const struct json_doc *doc,
               const struct json_node *n, int depth)
{
    switch (n->kind) {
    case JSON_NULL:
        sh->nulls++;
        return 0;
    case JSON_FALSE:
    case JSON_TRUE:
        sh->bools++;
        return 0;
    case JSON_NUMBER:
        if ((n->flags & JSON_F_INTEGER) != 0)
            see_int(sh, json_raw(doc, n));
        else
            sh->floats++;
        return 0;
    case JSON_STRING:
        see_string(sh, json_raw(doc, n), (n->flags & JSON_F_ESCAPED) != 0);
        return 0;
    case JSON_ARRAY:
        sh->arrays++;
        sh->deep = sh->deep || depth >= SUGGEST_DEPTH_MAX;
        return sh->deep ? 0 : see_array(s, sh, doc, n, depth);
    default:
        sh->objects++;
        sh->deep = sh->deep || depth >= SUGGEST_DEPTH_MAX;
        return sh->deep ? 0 : see_object(s, sh, doc, n, depth);
    }
}

/* ---- different values, examples */

/* True when the value is new among those told apart. */
static int note_distinct(struct suggest *s, struct distinct *d, struct slice text, bool *is_new)
{
    uint64_t h = schema_hash(SCHEMA_HASH_SEED, text);
    h += h == 0; /* 0 marks an empty slot */
    *is_new = false;
    if (d->count == SUGGEST_DISTINCT_MAX)
        return 0;
    if (d->slots == NULL || 2 * (d->count + 1) > d->mask + 1) {
        uint32_t size = d->slots == NULL ? 32 : 2 * (d->mask + 1);
        uint64_t *slots = arena_calloc(&s->arena, size, sizeof(*slots));
        if (slots == NULL)
            return -ENOMEM;
        for (uint32_t i = 0; d->slots != NULL && i <= d->mask; i++) {
            uint32_t at = (uint32_t)d->slots[i] & (size - 1);
            while (d->slots[i] != 0 && slots[at] != 0)
                at = (at + 1) & (size - 1);
            if (d->slots[i] != 0)
                slots[at] = d->slots[i];
        }
        d->slots = slots;
        d->mask = size - 1;
    }
    uint32_t at = (uint32_t)h & d->mask;
    while (d->slots[at] != 0 && d->slots[at] != h)
        at = (at + 1) & d->mask;
    *is_new = d->slots[at] == 0;
    d->count += *is_new;
    d->slots[at] = h;
    return 0;
}

static int note_value(struct suggest *s, struct suggested *c, const struct json_doc *doc,
                      const struct json_node *n)
{
    struct slice raw = json_raw(doc, n);
    bool is_new;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind == JSON_STRING) /* as it stands, quotes and all */
        raw = (struct slice){raw.ptr - 1, raw.len + 2};
    int rc = note_distinct(s, &c->distinct, raw, &is_new);
    if (rc != 0 || !is_new || c->example_count == SUGGEST_EXAMPLES ||
        raw.len > SUGGEST_EXAMPLE_BYTES || (n->flags & JSON_F_SPACED) != 0)
        return rc;
    c->examples[c->example_count] = arena_dup(&s->arena, raw);
    return c->examples[c->example_count++].ptr == NULL ? -ENOMEM : 0;
}

/* ---- columns */

static int grow(struct suggest *s)
{
    uint32_t cap = s->column_cap == 0 ? 32 : 2 * s->column_cap, size = 2 * cap;
    struct suggested *columns = arena_calloc(&s->arena, cap, sizeof(*columns));
    uint32_t *index = arena_calloc(&s->arena, size, sizeof(*index));
    if (columns == NULL || index == NULL)
        return -ENOMEM;
    if (s->column_count > 0)
        memcpy(columns, s->columns, s->column_count * sizeof(*columns));
    for (uint32_t i = 0; i < s->column_count; i++) {
        uint32_t at = (uint32_t)schema_hash(SCHEMA_HASH_SEED, columns[i].name) & (size - 1);
        while (index[at] != 0)
            at = (at + 1) & (size - 1);
        index[at] = i + 1;
    }
    s->columns = columns;
    s->column_cap = cap;
    s->index = index;
    s->index_mask = size - 1;
    return 0;
}

/* The column of that name, a new one if need be. *out NULL: too many. */
static int column_of(struct suggest *s, struct slice name, struct suggested **out)
{
    *out = NULL;
    if (s->column_count == s->column_cap && grow(s) != 0)
        return -ENOMEM;
    uint32_t at = (uint32_t)schema_hash(SCHEMA_HASH_SEED, name) & s->index_mask;
    for (; s->index[at] != 0; at = (at + 1) & s->index_mask) {
        struct suggested *c = &s->columns[s->index[at] - 1];
        if (slice_eq(c->name, name)) {
            *out = c;
            return 0;
        }
    }
    if (s->column_count == LIMIT_SUGGEST_COLUMNS)
        return 0;
    struct suggested *c = &s->columns[s->column_count];
    c->name = arena_dup(&s->arena, name);
    if (c->name.ptr == NULL)
        return -ENOMEM;
    s->index[at] = ++s->column_count;
    *out = c;
    return 0;
}

/* A key's text, escapes resolved in the arena. */
static int key_text(struct suggest *s, const struct json_doc *doc, const struct json_node *key,
                    struct slice *name)
{
    *name = json_raw(doc, key);
    if ((key->flags & JSON_F_ESCAPED) == 0)
        return 0;
    char *text = arena_alloc(&s->arena, name->len);
    if (text == NULL)
        return -ENOMEM;
    *name = (struct slice){text, json_unescape(*name, text)};
    return 0;
}

/* What stands before the first dot. */
static struct slice group_of(struct slice name)
{
    const char *dot = memchr(name.ptr, '.', name.len);
    if (dot == NULL || dot == name.ptr || dot + 1 == name.ptr + name.len)
        return (struct slice){NULL, 0};
    return (struct slice){name.ptr, (size_t)(dot - name.ptr)};
}

/* To ClickHouse arrays named n.a and n.b are one Nested, of equal lengths. An array was met: has it
 * siblings? */
static void find_leader(struct suggest *s, struct suggested *c)
{
    struct slice group = group_of(c->name);
    if (c->leader != 0 || group.len == 0)
        return;
    for (uint32_t i = 0; i < s->column_count && c->leader == 0; i++) {
        struct suggested *other = &s->columns[i];
        if (other != c && other->shape.arrays > 0 && slice_eq(group, group_of(other->name))) {
            c->leader = other->leader != 0 ? other->leader : i + 1;
            /* Records before this one have elements there and none here. */
            c->unequal = other->shape.element != NULL && s->records > 1;
            s->any_nested = true;
        }
    }
}

static int see_member(struct suggest *s, const struct json_doc *doc, const struct json_node *key)
{
    const struct json_node *value = key + 1;
    struct suggested *c = NULL;
    struct slice name;
    int rc = key_text(s, doc, key, &name);
    bool usable = name.len > 0 && name.len <= LIMIT_NAME_BYTES;
    if (rc == 0 && usable)
        rc = column_of(s, name, &c);
    if (rc != 0)
        return rc;
    if (c == NULL) {
        s->keys_left_out++;
        return 0;
    }
    c->seen += c->last != s->records;
    c->last = s->records;
    c->last_len = value->kind == JSON_ARRAY ? value->count : 0;
    s->empty_object = false;
    rc = note_value(s, c, doc, value);
    if (rc == 0)
        rc = see(s, &c->shape, doc, value, 0);
    c->empty_object = c->empty_object || s->empty_object;
    if (value->kind == JSON_ARRAY)
        find_leader(s, c);
    return rc;
}

static void compare_lengths(struct suggest *s)
{
    for (uint32_t i = 0; s->any_nested && i < s->column_count; i++) {
        struct suggested *c = &s->columns[i];
        if (c->leader == 0)
            continue;
        struct suggested *first = &s->columns[c->leader - 1];
        uint32_t mine = c->last == s->records ? c->last_len : 0;
        uint32_t theirs = first->last == s->records ? first->last_len : 0;
        c->unequal = first->unequal = c->unequal || first->unequal || mine != theirs;
    }
}

int suggest_add(struct suggest *s, const struct json_doc *doc)
{
    if (doc->nodes[0].kind != JSON_OBJECT)
        return WH_ESYNTAX;
    if (s->records == LIMIT_SUGGEST_RECORDS) {
        s->cut = true;
        return WH_ELIMIT;
    }
    s->records++;
    const struct json_node *key = doc->nodes + 1;
    for (uint32_t i = 0; i < doc->nodes[0].count; i++, key = doc->nodes + key[1].next) {
        int rc = see_member(s, doc, key);
        if (rc != 0)
            return rc;
    }
    compare_lengths(s);
    return 0;
}

/* ---- what others may know */

uint32_t suggest_column_count(const struct suggest *s)
{
    return s->column_count;
}

struct suggest_column suggest_column(const struct suggest *s, uint32_t i)
{
    const struct suggested *c = &s->columns[i];
    return (struct suggest_column){c->name, c->type, c->default_expr};
}

bool suggest_widen(struct suggest *s, uint32_t i)
{
    enum {
        WIDEST = 3
    };
    struct suggested *c = &s->columns[i];
    if (s->stamp_added && i + 1 == s->column_count)
        return false;
    if (c->type.len == 0 || c->widened == WIDEST || c->widened > c->named)
        return false;
    c->widened++;
    return true;
}

int suggest_finish(struct suggest *s, const struct suggest_options *options)
{
    s->options = options;
    return suggest_name_types(s);
}
