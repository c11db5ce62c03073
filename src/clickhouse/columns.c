/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: which key goes to which column, rows in and rows taken back, the wire form. */
#include "clickhouse/columns.h"

#include "clickhouse/columns_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NO_SLOT = UINT32_MAX,
    DEFAULT_SLOT = UINT32_MAX - 1
};

/* ---- making */

static bool is_array(const struct schema_column *c)
{
    return c->type->kind == CH_ARRAY;
}

/* "n" of "n.a"; empty when the name has no dot or ends at it. */
static struct slice nested_group(struct slice name)
{
    const char *dot = name.len == 0 ? NULL : memchr(name.ptr, '.', name.len);
    if (dot == NULL || dot == name.ptr || dot + 1 == name.ptr + name.len)
        return (struct slice){NULL, 0};
    return (struct slice){name.ptr, (size_t)(dot - name.ptr)};
}

static bool same_nested(const struct schema_column *a, const struct schema_column *b)
{
    if (!is_array(a) || !is_array(b))
        return false;
    struct slice g = nested_group(a->name);
    return g.len > 0 && slice_eq(g, nested_group(b->name));
}

static void link_nested(struct ch_block *b)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        b->slots[i].nested = -1;
        for (uint32_t j = 0; j < i && b->slots[i].nested < 0; j++)
            if (same_nested(b->slots[j].column, b->slots[i].column))
                b->slots[i].nested = (int32_t)j;
        b->has_nested = b->has_nested || b->slots[i].nested >= 0;
    }
}

/* Would ch_row_columns name a further column because of one of these? */
static bool nested_is_whole(const struct ch_block *b)
{
    for (uint32_t i = 0; i < b->slot_count; i++)
        for (uint32_t k = 0; k < b->table->column_count; k++)
            if (b->slot_of_ordinal[k] < 0 &&
                b->table->columns[k].default_kind == SCHEMA_DEFAULT_NONE &&
                same_nested(b->slots[i].column, &b->table->columns[k]))
                return false;
    return true;
}

static void set_key(struct block_slot *s, struct slice key)
{
    char ones[KEY_WORDS_BYTES];
    size_t n = key.len < KEY_WORDS_BYTES ? key.len : KEY_WORDS_BYTES;
    memset(ones, 0xff, sizeof(ones));
    memcpy(s->key, key.ptr, n);
    memcpy(s->mask, ones, n);
    s->key_len = key.len;
}

static int build_slots(struct ch_block *b, const uint32_t *columns)
{
    struct column *next = b->nodes;
    for (uint32_t i = 0; i < b->slot_count; i++) {
        const struct schema_column *column = &b->table->columns[columns[i]];
        int used = column_tree_build(b, next, column->type);
        if (used < 0)
            return used;
        b->slots[i].column = column;
        b->slots[i].root = next;
        set_key(&b->slots[i], column->json_key);
        b->slots[i].next_slot = i + 1 < b->slot_count ? i + 1 : 0;
        b->slot_of_ordinal[columns[i]] = (int32_t)i;
        next += used;
    }
    link_nested(b);
    b->nested_whole = nested_is_whole(b);
    return 0;
}

static bool allocate(struct ch_block *b, const uint32_t *columns)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        uint32_t n = column_tree_size(b->table->columns[columns[i]].type);
        if (n == 0)
            return false;
        b->node_count += n;
    }
    b->nodes = calloc(b->node_count + 1, sizeof(*b->nodes));
    b->slots = calloc(b->slot_count + 1, sizeof(*b->slots));
    b->slot_of_ordinal = malloc(((size_t)b->table->column_count + 1) * sizeof(int32_t));
    if (b->nodes == NULL || b->slots == NULL || b->slot_of_ordinal == NULL)
        return false;
    for (uint32_t i = 0; i < b->node_count; i++)
        buf_init_huge(&b->nodes[i].data);
    for (uint32_t i = 0; i < b->table->column_count; i++)
        b->slot_of_ordinal[i] = -1;
    return true;
}

struct ch_block *ch_block_new(const struct schema_table *table, const uint32_t *columns,
                              uint32_t column_count, struct slice server_timezone)
{
    struct ch_block *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return NULL;
    b->table = table;
    b->slot_count = column_count;
    buf_init(&b->scratch, SIZE_MAX);
    if (zones_init(b, server_timezone) == 0 && allocate(b, columns) && build_slots(b, columns) == 0)
        return b;
    ch_block_free(b);
    return NULL;
}

void ch_block_free(struct ch_block *b)
{
    if (b == NULL)
        return;
    for (uint32_t i = 0; b->nodes != NULL && i < b->node_count; i++)
        column_fini(&b->nodes[i]);
    free(b->nodes);
    free(b->slots);
    free(b->slot_of_ordinal);
    buf_fini(&b->scratch);
    zones_fini(b);
    free(b);
}

void ch_block_reset(struct ch_block *b)
{
    b->rows = 0;
    for (uint32_t i = 0; i < b->node_count; i++)
        column_clear(&b->nodes[i]);
    /* Cannot fail: the memory for the default entries is there since the block was made. */
    for (uint32_t i = 0; i < b->node_count; i++)
        if (b->nodes[i].read == coerce_low_cardinality)
            (void)dictionary_init(&b->nodes[i]);
}

uint64_t ch_block_rows(const struct ch_block *b)
{
    return b->rows;
}

uint64_t ch_block_bytes(const struct ch_block *b)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < b->node_count; i++)
        n += column_bytes(&b->nodes[i]);
    return n;
}

uint64_t ch_block_held(const struct ch_block *b)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < b->node_count; i++) {
        const struct column *c = &b->nodes[i];
        n += c->data.len > c->most ? c->data.len : c->most;
    }
    return n;
}

/* ---- errors */

static const char *code_text(int code)
{
    switch (code) {
    case CHE_ESCAPE:
        return "a surrogate of a \\u escape stands alone";
    case CHE_QUOTED:
        return "a string is expected";
    case CHE_DATE:
        return "no date is found";
    case CHE_DATETIME:
        return "no date and time is found";
    case CHE_RANGE:
        return "the decimal number has too many digits";
    case CHE_NUMBER:
        return "no number is found";
    case CHE_DATA:
        return "a key is repeated";
    case CHE_ARRAY:
        return "an array of such values is expected";
    case CHE_TOO_LARGE:
        return "the string is too long";
    case CHE_ARRAY_SIZES:
        return "the arrays of a Nested have different lengths";
    case CHE_UUID:
        return "no UUID is found";
    case CHE_DECIMAL_OVERFLOW:
        return "the time is out of range";
    case CHE_BOOL:
        return "true, false, 1 or 0 is expected";
    case CHE_MAP:
        return "an object of such values is expected";
    case CHE_IPV4:
        return "no IPv4 address is found";
    case CHE_IPV6:
        return "no IPv6 address is found";
    case CHE_ENUM:
        return "no element of the enumeration";
    default:
        return "the value does not have the form of the type";
    }
}

/* n bytes of s, less when that would cut a UTF-8 character. */
static int cut_utf8(struct slice s, size_t n)
{
    if (s.len <= n)
        return (int)s.len;
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

static int refuse(struct ch_value_error *e, int code, struct slice column, struct slice type,
                  struct slice value)
{
    enum {
        COLUMN_SHOWN = sizeof(e->column) - 1,
        TYPE_SHOWN = 100,
        VALUE_SHOWN = 100
    };
    e->code = code == CHE_TRAILING ? CHE_INPUT : code;
    (void)snprintf(e->column, sizeof(e->column), "%.*s", cut_utf8(column, COLUMN_SHOWN),
                   column.ptr);
    (void)snprintf(e->text, sizeof(e->text), "cannot read %.*s%s as %.*s%s: %s",
                   cut_utf8(value, VALUE_SHOWN), value.ptr, value.len > VALUE_SHOWN ? "…" : "",
                   cut_utf8(type, TYPE_SHOWN), type.ptr, type.len > TYPE_SHOWN ? "…" : "",
                   code_text(code));
    return WH_ESYNTAX;
}

/* As it stands in the text, quotes included. */
static struct slice shown(const struct json_doc *doc, const struct json_node *n)
{
    struct slice s = json_raw(doc, n);
    if (n->kind == JSON_STRING)
        s = (struct slice){s.ptr - 1, s.len + 2};
    return s;
}

static int refuse_key(struct ch_value_error *e, struct slice key, const char *why)
{
    e->code = CHE_DATA;
    (void)snprintf(e->column, sizeof(e->column), "%.*s", cut_utf8(key, sizeof(e->column) - 1),
                   key.ptr);
    (void)snprintf(e->text, sizeof(e->text), "%s: %.*s", why, cut_utf8(key, 200), key.ptr);
    return WH_ESYNTAX;
}

/* ---- keys */

/* *out: NULL when there is no such column. 0 or -ENOMEM. */
static int find_column(const struct schema_table *t, const struct json_doc *doc,
                       const struct json_node *key, struct buf *scratch,
                       const struct schema_column **out)
{
    struct slice raw = json_raw(doc, key);
    *out = NULL;
    if ((key->flags & JSON_F_ESCAPED) != 0) {
        size_t len = 0;
        buf_reset(scratch);
        if (buf_reserve(scratch, raw.len) != 0)
            return -ENOMEM;
        if (coerce_unescape(raw, scratch->ptr, &len) != 0)
            return 0;
        raw = (struct slice){scratch->ptr, len};
    }
    *out = schema_table_column(t, raw);
    return 0;
}

/* A null that asks for the column's DEFAULT: it does not travel, ClickHouse evaluates the
 * expression for a column that the INSERT does not name. */
static bool takes_default(const struct schema_column *c, const struct json_node *value)
{
    return value->kind == JSON_NULL && !c->nullable && c->default_kind != SCHEMA_DEFAULT_NONE;
}

/* The slot of a key by name: NO_SLOT for a key that is none of the block's, DEFAULT_SLOT for one
 * that is to take its DEFAULT. 0 or -ENOMEM. */
static int search_slot(struct ch_block *b, const struct json_doc *doc, const struct json_node *key,
                       uint32_t *slot)
{
    const struct schema_column *c;
    int rc = find_column(b->table, doc, key, &b->scratch, &c);
    int32_t found = c == NULL ? -1 : b->slot_of_ordinal[c->ordinal];
    if (found >= 0)
        *slot = (uint32_t)found;
    else
        *slot = c != NULL && c->insertable && takes_default(c, key + 1) ? DEFAULT_SLOT : NO_SLOT;
    return rc;
}

static inline bool slot_is(const struct block_slot *s, struct slice raw)
{
    if (raw.len != s->key_len)
        return false;
    if (__builtin_expect(raw.len > KEY_WORDS_BYTES, 0))
        return memcmp(raw.ptr, s->column->json_key.ptr, raw.len) == 0;
    return (((le64_get(raw.ptr) ^ s->key[0]) & s->mask[0]) |
            ((le64_get(raw.ptr + 8) ^ s->key[1]) & s->mask[1])) == 0;
}

/* The same; keys mostly come in the order of the row before: that slot is tried first. */
static inline int find_slot(struct ch_block *b, const struct json_doc *doc,
                            const struct json_node *key, uint32_t expected, uint32_t *slot)
{
    if (expected < b->slot_count && slot_is(&b->slots[expected], json_raw(doc, key))) {
        *slot = expected;
        return 0;
    }
    return search_slot(b, doc, key, slot);
}

/* ---- rows */

static uint64_t last_length(const struct column *array)
{
    uint64_t n = array->data.len / 8, end = 0, start = 0;
    memcpy(&end, array->data.ptr + 8 * (n - 1), 8);
    if (n > 1)
        memcpy(&start, array->data.ptr + 8 * (n - 2), 8);
    return end - start;
}

static int check_nested(struct ch_block *b, struct ch_value_error *e)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        const struct block_slot *s = &b->slots[i];
        if (s->nested >= 0 && last_length(s->root) != last_length(b->slots[s->nested].root))
            return refuse(e, CHE_ARRAY_SIZES, s->column->name, s->column->type->text,
                          SLICE_LIT("the row"));
    }
    return 0;
}

static int fill_omitted(struct ch_block *b)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        if (b->slots[i].seen == b->row_number)
            continue;
        int rc = column_put_default(b->slots[i].root);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int add_members(struct ch_block *b, const struct json_doc *doc, uint32_t *found,
                       struct ch_value_error *e)
{
    const struct json_node *key = doc->nodes + 1;
    uint32_t members = doc->nodes[0].count, expected = 0, previous = NO_SLOT;
    for (uint32_t i = 0; i < members; i++, key = doc->nodes + key[1].next) {
        uint32_t slot;
        if (find_slot(b, doc, key, expected, &slot) != 0)
            return -ENOMEM;
        if (slot == NO_SLOT)
            return refuse_key(e, json_raw(doc, key), "unknown column");
        if (slot == DEFAULT_SLOT)
            continue;
        struct block_slot *s = &b->slots[slot];
        if (s->seen == b->row_number)
            return refuse_key(e, s->column->name, "repeated column");
        s->seen = b->row_number;
        int rc = column_read(s->root, doc, key + 1);
        if (__builtin_expect(rc != 0, 0))
            return rc < 0
                       ? rc
                       : refuse(e, rc, s->column->name, s->column->type->text, shown(doc, key + 1));
        if (previous != NO_SLOT)
            b->slots[previous].next_slot = slot;
        previous = slot;
        expected = s->next_slot;
        ++*found;
    }
    return 0;
}

/* As add_members, for a record with as many members as there are slots. */
static bool try_members(struct ch_block *b, const struct json_doc *doc)
{
    const struct json_node *nodes = doc->nodes, *key = nodes + 1;
    uint32_t slot, expected = 0, previous = NO_SLOT;
    for (uint32_t i = 0; i < b->slot_count; i++, key = nodes + key[1].next) {
        if (find_slot(b, doc, key, expected, &slot) != 0 || slot >= b->slot_count)
            return false;
        struct block_slot *s = &b->slots[slot];
        if (s->seen == b->row_number || takes_default(s->column, key + 1))
            return false;
        s->seen = b->row_number;
        if (__builtin_expect(column_read(s->root, doc, key + 1) != 0, 0))
            return false;
        if (slot != expected && previous != NO_SLOT)
            b->slots[previous].next_slot = slot;
        previous = slot;
        expected = s->next_slot;
    }
    return true;
}

bool ch_block_try_add(struct ch_block *b, const struct json_doc *doc)
{
    struct ch_value_error e;
    if (doc->nodes[0].count != b->slot_count || !b->nested_whole)
        return false;
    for (uint32_t i = 0; i < b->node_count; i++)
        column_mark(&b->nodes[i]);
    b->row_number++;
    if (try_members(b, doc) && (!b->has_nested || check_nested(b, &e) == 0)) {
        b->rows++;
        return true;
    }
    for (uint32_t i = 0; i < b->node_count; i++)
        column_rollback(&b->nodes[i]);
    return false;
}

int ch_block_add(struct ch_block *b, const struct json_doc *doc, struct ch_value_error *e)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < b->node_count; i++)
        column_mark(&b->nodes[i]);
    b->row_number++;
    int rc = add_members(b, doc, &found, e);
    if (rc == 0 && found < b->slot_count)
        rc = fill_omitted(b);
    if (rc == 0 && b->has_nested)
        rc = check_nested(b, e);
    if (rc == 0) {
        b->rows++;
        return 0;
    }
    for (uint32_t i = 0; i < b->node_count; i++)
        column_rollback(&b->nodes[i]);
    return rc;
}

/* ---- rows looked at */

/* Any value of a String is one, unless escapes are wrong. */
static bool needs_no_reading(const struct column *c, const struct json_node *value)
{
    if (value->kind == JSON_STRING && (value->flags & JSON_F_ESCAPED) != 0)
        return false;
    while (c->read == coerce_nullable || c->read == coerce_low_cardinality)
        c = c->children;
    return c->read == coerce_string;
}

/* Read the value and take it back at once. */
static int check_value(struct column *root, const struct json_doc *doc,
                       const struct json_node *value)
{
    if (needs_no_reading(root, value))
        return 0;
    for (uint32_t i = 0; i < root->span; i++)
        column_mark(&root[i]);
    int rc = column_read(root, doc, value);
    for (uint32_t i = 0; i < root->span; i++)
        column_rollback(&root[i]);
    return rc;
}

/* A key without a slot: a column that cannot be judged here, or none. */
static int check_other(struct ch_block *b, const struct json_doc *doc, const struct json_node *key,
                       struct ch_value_error *e)
{
    const struct schema_column *c;
    if (find_column(b->table, doc, key, &b->scratch, &c) != 0)
        return -ENOMEM;
    return c != NULL && c->insertable ? 0 : refuse_key(e, json_raw(doc, key), "unknown column");
}

static int check_member(struct ch_block *b, const struct json_doc *doc, const struct json_node *key,
                        struct block_slot *s, struct ch_value_error *e)
{
    const struct json_node *value = key + 1;
    if (s->seen == b->row_number)
        return refuse_key(e, s->column->name, "repeated column");
    if (takes_default(s->column, value))
        return 0;
    s->seen = b->row_number;
    s->checked = value->kind == JSON_ARRAY ? value->count : 0;
    int rc = check_value(s->root, doc, value);
    return rc <= 0 ? rc : refuse(e, rc, s->column->name, s->column->type->text, shown(doc, value));
}

/* Elements of a column of a Nested; false when its DEFAULT decides. */
static bool nested_count(const struct ch_block *b, const struct block_slot *s, uint64_t *n)
{
    bool seen = s->seen == b->row_number;
    *n = seen ? s->checked : 0;
    return seen || s->column->default_kind == SCHEMA_DEFAULT_NONE;
}

/* Columns of a Nested that are there, or come along empty, have one length. */
static int check_nested_counts(const struct ch_block *b, struct ch_value_error *e)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        const struct block_slot *s = &b->slots[i], *first = s;
        uint64_t n, want = 0;
        if (s->nested < 0 || !nested_count(b, s, &n))
            continue;
        for (first = &b->slots[s->nested]; first < s; first++)
            if (same_nested(first->column, s->column) && nested_count(b, first, &want))
                break;
        if (first < s && n != want)
            return refuse(e, CHE_ARRAY_SIZES, s->column->name, s->column->type->text,
                          SLICE_LIT("the row"));
    }
    return 0;
}

int ch_block_check(struct ch_block *b, const struct json_doc *doc, struct ch_value_error *e)
{
    const struct json_node *key = doc->nodes + 1;
    uint32_t members = doc->nodes[0].count, expected = 0, previous = NO_SLOT;
    b->row_number++;
    for (uint32_t i = 0; i < members; i++, key = doc->nodes + key[1].next) {
        uint32_t slot;
        if (find_slot(b, doc, key, expected, &slot) != 0)
            return -ENOMEM;
        int rc = slot >= b->slot_count ? check_other(b, doc, key, e)
                                       : check_member(b, doc, key, &b->slots[slot], e);
        if (__builtin_expect(rc != 0, 0))
            return rc;
        if (slot >= b->slot_count)
            continue;
        if (previous != NO_SLOT)
            b->slots[previous].next_slot = slot;
        previous = slot;
        expected = b->slots[slot].next_slot;
    }
    return b->has_nested ? check_nested_counts(b, e) : 0;
}

int ch_block_add_checked(struct ch_block *b, const struct json_doc *doc)
{
    const struct json_node *key = doc->nodes + 1;
    uint32_t slot;
    int rc = 0;
    for (uint32_t i = 0; i < b->node_count; i++)
        column_mark(&b->nodes[i]);
    b->row_number++;
    for (uint32_t i = 0; rc == 0 && i < doc->nodes[0].count; i++) {
        rc = search_slot(b, doc, key, &slot);
        if (rc == 0 && slot < b->slot_count) {
            b->slots[slot].seen = b->row_number;
            rc = column_read(b->slots[slot].root, doc, key + 1);
        }
        key = doc->nodes + key[1].next;
    }
    if (rc == 0)
        rc = fill_omitted(b);
    if (rc == 0)
        b->rows++;
    for (uint32_t i = 0; rc != 0 && i < b->node_count; i++)
        column_rollback(&b->nodes[i]);
    return rc == 0 ? 0 : -ENOMEM;
}

void ch_block_trim(struct ch_block *b, size_t keep_bytes)
{
    size_t held = b->scratch.cap;
    for (uint32_t i = 0; i < b->node_count; i++)
        held += b->nodes[i].data.cap;
    if (held <= keep_bytes)
        return;
    buf_reset(&b->scratch);
    buf_trim(&b->scratch);
    for (uint32_t i = 0; i < b->node_count; i++)
        buf_trim(&b->nodes[i].data); /* not empty: the first entries of a dictionary */
}

/* ---- writing */

static void put_string(struct buf *out, struct slice s)
{
    char len[10];
    buf_put(out, len, (size_t)(varint_put(len, s.len) - len));
    buf_put_slice(out, s);
}

int ch_block_send(void *block, bool custom_byte, struct ch_sink *sink)
{
    const struct ch_block *b = block;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < b->slot_count; i++) {
        const struct block_slot *s = &b->slots[i];
        put_string(sink->out, s->column->name);
        put_string(sink->out, s->column->type->text);
        if (custom_byte)
            buf_put_u8(sink->out, 0);
        if (b->rows == 0)
            continue;
        column_write_prefix(s->root, sink->out);
        rc = column_write_data(s->root, sink);
    }
    return rc != 0 ? rc : buf_ok(sink->out) ? 0 : -ENOMEM;
}

int ch_block_write(void *block, bool custom_byte, struct buf *out)
{
    struct ch_sink sink = {.out = out};
    return ch_block_send(block, custom_byte, &sink);
}

/* ---- which columns a record fills */

static void set_bit(uint64_t *bits, uint32_t ordinal)
{
    bits[ordinal / 64] |= (uint64_t)1 << (ordinal % 64);
}

/* The other columns of a flattened Nested come along, so that unequal lengths are noticed here and
 * not made up for by the server. */
static void set_nested(const struct schema_table *t, const struct schema_column *c, uint64_t *bits)
{
    for (uint32_t i = 0; i < t->column_count; i++) {
        const struct schema_column *other = &t->columns[i];
        if (other->default_kind == SCHEMA_DEFAULT_NONE && same_nested(c, other))
            set_bit(bits, i);
    }
}

/* The key's column by place, or else by name; refused when it takes no values. */
static int row_column(const struct schema_table *t, const struct json_doc *doc,
                      const struct json_node *key, uint32_t expected, struct buf *scratch,
                      const struct schema_column **c, struct ch_value_error *e)
{
    struct slice raw = json_raw(doc, key);
    int rc = 0;
    if (expected < t->column_count && text_equal(raw, t->columns[expected].json_key))
        *c = &t->columns[expected];
    else
        rc = find_column(t, doc, key, scratch, c);
    if (rc == 0 && (*c == NULL || !(*c)->insertable))
        rc = refuse_key(e, raw, "unknown column");
    return rc;
}

int ch_row_columns(const struct schema_table *table, const struct json_doc *doc, uint64_t *bits,
                   struct ch_value_error *e)
{
    const struct json_node *key = doc->nodes + 1;
    const struct schema_column *c = NULL;
    struct buf scratch;
    int rc = 0;
    buf_init(&scratch, SIZE_MAX);
    for (uint32_t i = 0; rc == 0 && i < doc->nodes[0].count; i++) {
        rc = row_column(table, doc, key, c == NULL ? 0 : c->ordinal + 1, &scratch, &c, e);
        if (rc != 0)
            break;
        if (!takes_default(c, key + 1)) {
            set_bit(bits, c->ordinal);
            if (is_array(c) && nested_group(c->name).len > 0)
                set_nested(table, c, bits);
        }
        key = doc->nodes + key[1].next;
    }
    buf_fini(&scratch);
    return rc;
}

void ch_apart_columns(const struct schema_table *table, uint64_t *bits)
{
    for (uint32_t i = 0; i < table->column_count; i++) {
        const struct schema_column *c = &table->columns[i];
        if (c->default_kind == SCHEMA_DEFAULT_NONE)
            continue;
        set_bit(bits, i);
        if (is_array(c) && nested_group(c->name).len > 0)
            set_nested(table, c, bits);
    }
}
