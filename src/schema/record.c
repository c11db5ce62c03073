/* SPDX-License-Identifier: Apache-2.0 */
/* A record goes through three loops over its few members: find the columns, judge the values,
 * write. What the loops share is one struct member per known key, kept in the checker. Clients send
 * their keys in one order, so the previous record's members predict the columns of this one; a
 * prediction is confirmed by one memcmp and costs no hash. */
#include "schema/record.h"

#include "base/limits.h"
#include "base/magic.h"
#include "schema/timestamp.h"
#include "schema/zone.h"

#include <errno.h>
#include <stdlib.h>

#define CHECKER_MAGIC 0x4ec0c4ec
#define ZONES_MAX     32 /* remembered names; tables of one server use a handful */
#define KEY_SCRATCH   (LIMIT_NAME_BYTES * 6) /* a name in which every byte is a \u escape */
#define MEMBERS_MIN   64
#define NO_ORDINAL    UINT32_MAX       /* member is dropped: a later one has the same key */
#define HELD_ORDINAL  (UINT32_MAX - 1) /* member has no column yet */

struct member {
    uint32_t key;      /* number of the key's node; its value is the next one */
    uint32_t ordinal;  /* of the column */
    uint16_t text_len; /* of the replacement; 0: the value is written as it is */
    uint32_t text_off; /* in checker->texts */
};

struct known_zone {
    char name[65];
    struct zone *zone; /* NULL: does not exist */
};

struct record_checker {
    uint32_t magic;
    struct member *members;
    uint32_t member_count, member_cap;
    uint32_t required_seen;
    bool changed;     /* the record cannot be copied byte for byte */
    struct buf texts; /* replacement values of this record */
    uint32_t zone_count, zone_next;
    struct known_zone zones[ZONES_MAX];
    uint64_t seen[LIMIT_TABLE_COLUMNS / 64]; /* bit per ordinal */
    uint32_t last[LIMIT_TABLE_COLUMNS];      /* member of an ordinal whose bit is set */
    char scratch[KEY_SCRATCH];
};

struct record_checker *record_checker_new(void)
{
    struct record_checker *c = malloc(sizeof(*c));
    if (c == NULL)
        return NULL;
    c->magic = CHECKER_MAGIC;
    c->members = NULL;
    c->member_count = c->member_cap = 0;
    c->zone_count = c->zone_next = 0;
    buf_init(&c->texts, SIZE_MAX);
    return c;
}

void record_checker_free(struct record_checker *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CHECKER_MAGIC);
    c->magic = 0;
    for (uint32_t i = 0; i < c->zone_count; i++)
        zone_free(c->zones[i].zone);
    free(c->members);
    buf_fini(&c->texts);
    free(c);
}

/* ---- refusals -------------------------------------------------------------------------------- */

const char *record_rule_name(enum record_rule rule)
{
    static const char *const names[RECORD_RULES_COUNT] = {
        [RECORD_TAKEN] = "ok",        [RECORD_SIZE] = "size",
        [RECORD_SHAPE] = "shape",     [RECORD_UNKNOWN] = "unknown_column",
        [RECORD_KIND] = "kind",       [RECORD_MISSING] = "missing_column",
        [RECORD_NULL] = "null",       [RECORD_VALUE] = "value",
        [RECORD_NO_ID] = "dedupe_id", [RECORD_COLUMN] = "column",
        [RECORD_CHECK] = "check",
    };
    return names[rule];
}

/* Append s to the message, cut where it is full, never inside a UTF-8 character. */
static void say(struct record_result *r, size_t *at, struct slice s, size_t max)
{
    size_t room = sizeof(r->message) - 1 - *at;
    size_t n = s.len < max ? s.len : max;
    n = n < room ? n : room;
    if (n < s.len)
        while (n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
            n--;
    if (n > 0)
        memcpy(r->message + *at, s.ptr, n);
    *at += n;
    r->message[*at] = '\0';
}

static void say_quoted(struct record_result *r, size_t *at, struct slice name)
{
    say(r, at, SLICE_LIT("\""), 1);
    say(r, at, name, 900); /* two names and the words fit */
    say(r, at, SLICE_LIT("\""), 1);
}

/* `<before> "name"<after>` */
static int refuse(struct record_result *r, enum record_rule rule, const char *before,
                  struct slice name, const char *after, struct slice table)
{
    size_t at = 0;
    r->status = 400;
    r->rule = rule;
    say(r, &at, slice_str(before), 100);
    if (name.ptr != NULL)
        say_quoted(r, &at, name);
    say(r, &at, slice_str(after), 100);
    if (table.ptr != NULL)
        say_quoted(r, &at, table);
    return r->status;
}

static int refuse_kind(struct record_result *r, const struct schema_column *col, uint8_t kind)
{
    size_t at = 0;
    r->status = 400;
    r->rule = RECORD_KIND;
    say(r, &at, SLICE_LIT("type mismatch for column "), 100);
    say_quoted(r, &at, col->name);
    say(r, &at, SLICE_LIT(": cannot store "), 100);
    say(r, &at, slice_str(json_kind_name(kind)), 100);
    say(r, &at, SLICE_LIT(" in "), 100);
    say(r, &at, col->type->text, SIZE_MAX);
    return r->status;
}

/* ---- keys to columns ---------------------------------------------------------------------- */

/* The key's text, escapes resolved; a key too long to be a name is cut. */
static struct slice key_text(struct record_checker *c, const struct json_doc *doc,
                             const struct json_node *key)
{
    struct slice raw = json_raw(doc, key);
    if ((key->flags & JSON_F_ESCAPED) == 0 || raw.len > sizeof(c->scratch))
        return raw;
    return (struct slice){c->scratch, json_unescape(raw, c->scratch)};
}

static bool is_key_of(const struct json_doc *doc, const struct json_node *key,
                      const struct schema_column *col)
{
    return key->len == col->json_key.len &&
           memcmp(doc->text + key->off, col->json_key.ptr, key->len) == 0;
}

static bool members_grow(struct record_checker *c)
{
    uint32_t cap = c->member_cap == 0 ? MEMBERS_MIN : c->member_cap * 2;
    struct member *grown = realloc(c->members, cap * sizeof(grown[0]));
    if (grown == NULL)
        return false;
    /* Not yet written members are read as predictions. */
    memset(grown + c->member_cap, 0, (cap - c->member_cap) * sizeof(grown[0]));
    c->members = grown;
    c->member_cap = cap;
    return true;
}

/* Enter key node k for column col as the record's next member. */
static void add_member(struct record_checker *c, const struct schema_column *col, uint32_t k)
{
    uint64_t bit = (uint64_t)1 << (col->ordinal % 64);
    uint64_t *word = &c->seen[col->ordinal / 64];
    if ((*word & bit) != 0) {
        c->members[c->last[col->ordinal]].ordinal = NO_ORDINAL;
        c->changed = true;
    } else {
        c->required_seen += col->required;
    }
    *word |= bit;
    c->last[col->ordinal] = c->member_count;
    struct member *m = &c->members[c->member_count++];
    m->key = k;
    m->ordinal = col->ordinal;
    m->text_len = 0;
}

static bool may_be_named(const struct record_options *options, const struct schema_column *col)
{
    return options->only == NULL ||
           (options->only[col->ordinal / 64] >> (col->ordinal % 64) & 1) != 0;
}

/* A column that is there, but that the request does not fill. */
static bool is_left_out(const struct record_options *options, const struct schema_column *col)
{
    return col != NULL && col->insertable && !may_be_named(options, col);
}

/* 0, 400 (unknown column), -ENOMEM. */
static int find_columns(struct record_checker *c, const struct schema_table *t,
                        const struct json_doc *doc, const struct record_options *options,
                        struct record_result *result)
{
    const struct json_node *nodes = doc->nodes;
    memset(c->seen, 0, (t->column_count + 63) / 64 * sizeof(c->seen[0]));
    c->member_count = c->required_seen = 0;
    for (uint32_t k = 1; k < nodes[0].next; k = nodes[k + 1].next) {
        if (c->member_count == c->member_cap && !members_grow(c))
            return -ENOMEM;
        uint32_t guess = c->members[c->member_count].ordinal;
        const struct schema_column *col = NULL;
        if (guess < t->column_count && is_key_of(doc, &nodes[k], &t->columns[guess]))
            col = &t->columns[guess];
        else
            col = schema_table_column(t, key_text(c, doc, &nodes[k]));
        if (__builtin_expect(col != NULL && col->insertable && may_be_named(options, col), 1)) {
            add_member(c, col, k);
            continue;
        }
        if (options->hold_unknown && !is_left_out(options, col)) {
            c->members[c->member_count++] = (struct member){.key = k, .ordinal = HELD_ORDINAL};
            result->unknown_held++;
            continue;
        }
        if (!options->ignore_unknown) {
            result->unknown_column = true;
            return refuse(result, RECORD_UNKNOWN, "unknown column ", key_text(c, doc, &nodes[k]),
                          " for table ", t->name);
        }
        result->unknown_ignored++;
        c->changed = true;
    }
    return 0;
}

/* ---- values ------------------------------------------------------------------------------- */

enum {
    STRING = 1 << 0,
    NUMBER = 1 << 1,
    BOOLEAN = 1 << 2,
    ARRAY = 1 << 3,
    OBJECT = 1 << 4
};

/* The table of http-api §7.3. */
static unsigned kinds_accepted(enum ch_kind kind)
{
    switch (kind) {
    case CH_STRING:
    case CH_FIXED_STRING:
    case CH_UUID:
    case CH_BOOL:
        return STRING | NUMBER | BOOLEAN;
    case CH_ARRAY:
        return ARRAY;
    case CH_MAP:
        return OBJECT;
    case CH_TUPLE:
    case CH_NESTED:
        return ARRAY | OBJECT;
    case CH_TIME:
    case CH_TIME64:
    case CH_INTERVAL:
        return STRING | NUMBER | BOOLEAN | ARRAY | OBJECT;
    default:
        /* Numbers, dates, addresses, enums; behind CH_ENUM16 everything else. */
        return kind <= CH_ENUM16 ? STRING | NUMBER : STRING | NUMBER | BOOLEAN | ARRAY | OBJECT;
    }
}

static bool kind_fits(const struct schema_column *col, uint8_t json_kind)
{
    static const unsigned bits[] = {
        [JSON_NULL] = ~0u,      [JSON_FALSE] = BOOLEAN, [JSON_TRUE] = BOOLEAN,
        [JSON_NUMBER] = NUMBER, [JSON_STRING] = STRING, [JSON_ARRAY] = ARRAY,
        [JSON_OBJECT] = OBJECT};
    return (kinds_accepted(col->peeled->kind) & bits[json_kind]) != 0;
}

/* The zone of that name, NULL when there is none. Reads a file when the name is new. */
static const struct zone *find_zone(struct record_checker *c, struct slice name)
{
    for (uint32_t i = 0; i < c->zone_count; i++)
        if (slice_eq_str(name, c->zones[i].name))
            return c->zones[i].zone;
    if (name.len == 0 || name.len >= sizeof(c->zones[0].name))
        return NULL;
    uint32_t slot = c->zone_count;
    if (slot == ZONES_MAX) {
        slot = c->zone_next++ % ZONES_MAX;
        zone_free(c->zones[slot].zone);
    } else {
        c->zone_count++;
    }
    struct known_zone *z = &c->zones[slot];
    memcpy(z->name, name.ptr, name.len);
    z->name[name.len] = '\0';
    if (zone_load(name, &z->zone, NULL) != 0)
        z->zone = NULL;
    return z->zone;
}

static bool is_timestamp(const struct schema_column *col)
{
    return col->peeled->kind == CH_DATETIME || col->peeled->kind == CH_DATETIME64;
}

static struct timestamp_type timestamp_type_of(const struct schema_column *col)
{
    return (struct timestamp_type){.is_64 = col->peeled->kind == CH_DATETIME64,
                                   .precision = col->peeled->precision};
}

/* Put the canonical form of a timestamp member into texts if it differs. */
static void canonicalise(struct record_checker *c, const struct schema_column *col,
                         const struct json_doc *doc, struct slice server_timezone, struct member *m)
{
    const struct json_node *value = &doc->nodes[m->key + 1];
    struct timestamp_type type = timestamp_type_of(col);
    char unescaped[256], out[TIMESTAMP_CAP];
    size_t len = 0;
    struct slice text = json_raw(doc, value);
    enum timestamp_result rc = TIMESTAMP_AS_IS;
    if (value->kind == JSON_NUMBER) {
        if ((value->flags & JSON_F_INTEGER) != 0 && (value->flags & JSON_F_NEGATIVE) == 0)
            rc = timestamp_from_digits(type, text, out, &len);
    } else if (value->kind == JSON_STRING && (value->flags & JSON_F_ESCAPED) == 0) {
        rc = timestamp_from_text(type, text, NULL, out, &len);
    } else if (value->kind == JSON_STRING && text.len <= sizeof(unescaped)) {
        text = (struct slice){unescaped, json_unescape(text, unescaped)};
        rc = timestamp_from_text(type, text, NULL, out, &len);
        if (rc == TIMESTAMP_ALREADY) { /* but for its escapes */
            rc = TIMESTAMP_REPLACED;
            len = text.len;
            memcpy(out, text.ptr, len);
        }
    }
    if (rc == TIMESTAMP_NO_ZONE) {
        struct slice name = col->peeled->timezone;
        const struct zone *zone = find_zone(c, name.len > 0 ? name : server_timezone);
        rc = zone == NULL ? TIMESTAMP_AS_IS : timestamp_from_text(type, text, zone, out, &len);
    }
    if (rc != TIMESTAMP_REPLACED)
        return;
    m->text_off = (uint32_t)c->texts.len;
    m->text_len = (uint16_t)len;
    buf_put(&c->texts, out, len);
    c->changed = true;
}

/* Judge kinds in key order, timestamps on the way; *null: the first null that is not allowed. */
static int judge_values(struct record_checker *c, const struct schema_table *t,
                        const struct json_doc *doc, struct slice server_timezone, bool any_kind,
                        const struct schema_column **null, struct record_result *result)
{
    buf_reset(&c->texts);
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct member *m = &c->members[i];
        if (m->ordinal >= HELD_ORDINAL)
            continue;
        const struct schema_column *col = &t->columns[m->ordinal];
        uint8_t kind = doc->nodes[m->key + 1].kind;
        if (!any_kind && !kind_fits(col, kind))
            return refuse_kind(result, col, kind);
        if (kind == JSON_NULL && col->required && *null == NULL)
            *null = col;
        if (is_timestamp(col))
            canonicalise(c, col, doc, server_timezone, m);
    }
    return buf_ok(&c->texts) ? 0 : -ENOMEM;
}

static bool is_seen(const struct record_checker *c, uint32_t ordinal)
{
    return (c->seen[ordinal / 64] >> (ordinal % 64) & 1) != 0;
}

/* The first required column without a key, in table order; stamped ones do not count. */
static int judge_missing(const struct record_checker *c, const struct schema_table *t,
                         int32_t stamped, const uint64_t *later, struct record_result *result)
{
    uint32_t missing = t->required_count - c->required_seen;
    for (uint32_t i = 0; missing > 0 && i < t->column_count; i++) {
        if (!t->columns[i].required || is_seen(c, i))
            continue;
        bool comes = later != NULL && (later[i / 64] >> (i % 64) & 1) != 0;
        if ((int32_t)i != stamped && !comes)
            return refuse(result, RECORD_MISSING, "missing required column ", t->columns[i].name,
                          " for table ", t->name);
        missing--;
    }
    return 0;
}

/* ---- output ------------------------------------------------------------------------------- */

struct stamp {
    int32_t ordinal; /* -1: none */
    char text[TIMESTAMP_CAP];
    size_t len;
};

static bool holds_text(const struct ch_type *t)
{
    if (t->kind == CH_STRING)
        return true;
    for (uint32_t i = 0; i < t->child_count; i++)
        if (holds_text(t->children[i]))
            return true;
    return false;
}

static bool is_nested(const struct json_doc *doc, const struct json_node *value)
{
    for (uint32_t i = (uint32_t)(value - doc->nodes) + 1; i < value->next; i++)
        if (doc->nodes[i].kind >= JSON_ARRAY)
            return true;
    return false;
}

static bool has_line_break(struct slice s)
{
    return memchr(s.ptr, '\n', s.len) != NULL || memchr(s.ptr, '\r', s.len) != NULL;
}

/* An array or object that meets a String, as in [[1, 2]] for Array(String), is stored as the text
 * that was sent: its white space counts. A line break cannot stay, a record is one line. */
static bool keeps_space(const struct schema_column *col, const struct json_doc *doc,
                        const struct json_node *value)
{
    if (value->kind < JSON_ARRAY || (value->flags & JSON_F_SPACED) == 0 || !is_nested(doc, value) ||
        !holds_text(col->peeled))
        return false;
    return !has_line_break(json_raw(doc, value));
}

/* The value as it was sent. */
static void put_raw(struct buf *out, const struct json_doc *doc, const struct json_node *value)
{
    if (value->kind == JSON_STRING)
        json_put_minified(out, doc, value); /* with its quotes */
    else
        buf_put_slice(out, json_raw(doc, value));
}

static void put_member(const struct record_checker *c, const struct schema_table *t,
                       const struct json_doc *doc, const struct member *m, struct buf *out)
{
    const struct json_node *key = &doc->nodes[m->key];
    json_put_minified(out, doc, key);
    buf_put_u8(out, ':');
    if (m->ordinal == HELD_ORDINAL) {
        /* Whether its white space counts is seen when the column is there. */
        if (has_line_break(json_raw(doc, key + 1)))
            json_put_minified(out, doc, key + 1);
        else
            put_raw(out, doc, key + 1);
        return;
    }
    if (m->text_len == 0) {
        if (keeps_space(&t->columns[m->ordinal], doc, key + 1))
            buf_put_slice(out, json_raw(doc, key + 1));
        else
            json_put_minified(out, doc, key + 1);
        return;
    }
    buf_put_u8(out, '"');
    buf_put(out, c->texts.ptr + m->text_off, m->text_len);
    buf_put_u8(out, '"');
}

static int write_record(const struct record_checker *c, const struct schema_table *t,
                        const struct json_doc *doc, const struct stamp *stamp, struct buf *out)
{
    const struct json_node *object = &doc->nodes[0];
    /* Room for all of it at once: nothing can fail half-way. A replaced value grows by its text. */
    size_t extra = c->texts.len + (size_t)c->member_count * 2;
    if (stamp->ordinal >= 0)
        extra += t->columns[stamp->ordinal].json_key.len + stamp->len + 8;
    int rc = buf_reserve(out, object->len + extra);
    if (rc != 0)
        return rc;
    if (!c->changed && stamp->ordinal < 0 && (object->flags & JSON_F_SPACED) == 0) {
        buf_put_slice(out, json_raw(doc, object));
        return 0;
    }
    char separator = '{';
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (c->members[i].ordinal == NO_ORDINAL)
            continue;
        buf_put_u8(out, (uint8_t)separator);
        separator = ',';
        put_member(c, t, doc, &c->members[i], out);
    }
    if (stamp->ordinal >= 0) {
        buf_put_u8(out, (uint8_t)separator);
        separator = ',';
        buf_put_u8(out, '"');
        buf_put_slice(out, t->columns[stamp->ordinal].json_key);
        buf_put_str(out, "\":\"");
        buf_put(out, stamp->text, stamp->len);
        buf_put_u8(out, '"');
    }
    if (separator == '{')
        buf_put_u8(out, '{');
    buf_put_u8(out, '}');
    return 0;
}

int record_check(struct record_checker *c, const struct schema_table *t,
                 struct slice server_timezone, const struct record_options *options,
                 const struct json_doc *doc, uint64_t received_ns, struct buf *out,
                 struct record_result *result)
{
    CHECK_MAGIC(c, CHECKER_MAGIC);
    result->status = 0;
    result->rule = RECORD_TAKEN;
    result->code = 0;
    result->message[0] = '\0';
    result->unknown_ignored = 0;
    result->unknown_held = 0;
    result->stamp_off = 0;
    result->unknown_column = false;
    const struct slice none = {NULL, 0};
    if (doc->nodes[0].kind != JSON_OBJECT)
        return refuse(result, RECORD_SHAPE, "record must be a JSON object", none, "", none);
    c->changed = false;
    int rc = find_columns(c, t, doc, options, result);
    if (rc != 0)
        return rc;
    const struct schema_column *null = NULL;
    rc = judge_values(c, t, doc, server_timezone, options->any_kind, &null, result);
    if (rc != 0)
        return rc;
    struct stamp stamp = {.ordinal = -1};
    int32_t received = t->received_timestamp;
    if (options->stamp_received && received >= 0 && !is_seen(c, (uint32_t)received) &&
        timestamp_from_ns(timestamp_type_of(&t->columns[received]), received_ns, stamp.text,
                          &stamp.len) == TIMESTAMP_REPLACED)
        stamp.ordinal = received;
    rc = options->defaults ? 0 : judge_missing(c, t, stamp.ordinal, options->stamped, result);
    if (rc != 0)
        return rc;
    if (null != NULL && !options->defaults)
        return refuse(result, RECORD_NULL, "null value for non-nullable column ", null->name, "",
                      none);
    size_t from = out->len;
    rc = write_record(c, t, doc, &stamp, out);
    if (rc == 0 && stamp.ordinal >= 0) /* it is the last value: …"} */
        result->stamp_off = (uint32_t)(out->len - from - 2 - stamp.len);
    return rc;
}
