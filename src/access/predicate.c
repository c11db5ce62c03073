/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling and remembering row filters, and their SQL. On events: predicate_match.c. */
#include "access/predicate.h"

#include "access/crypto.h"
#include "access/predicate_priv.h"
#include "base/limits.h"
#include "base/magic.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SET_MAGIC   0x50534554u
#define ARENA_BLOCK 1024
#define WAYS        4 /* places that a predicate may have in the table */

struct slot {
    uint8_t hash[ACCESS_SHA256_BYTES];
    struct access_predicate *p; /* NULL: free */
};

struct access_predicates {
    uint32_t magic;
    uint32_t turn;
    struct arena scratch;
    struct buf key;
    struct slot slots[LIMIT_PREDICATES];
};

/* ---- lives ----------------------------------------------------------------------------------- */

struct access_predicate *access_predicate_ref(struct access_predicate *p)
{
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void access_predicate_unref(struct access_predicate *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        zone_free(p->conditions[i].zone);
    schema_catalog_unref(p->catalog);
    p->magic = 0;
    arena_fini(&p->arena);
    free(p);
}

struct access_predicates *access_predicates_new(void)
{
    struct access_predicates *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->magic = SET_MAGIC;
    arena_init(&s->scratch, 16 * KIB, 16 * MIB);
    buf_init(&s->key, 16 * MIB);
    return s;
}

void access_predicates_free(struct access_predicates *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SET_MAGIC);
    s->magic = 0;
    for (uint32_t i = 0; i < LIMIT_PREDICATES; i++)
        access_predicate_unref(s->slots[i].p);
    arena_fini(&s->scratch);
    buf_fini(&s->key);
    free(s);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static bool fill(struct access_predicate *p, const struct access_grant *g,
                 const struct access_set *sets, const struct schema_table *table)
{
    struct slice server_zone =
        p->catalog != NULL ? schema_catalog_timezone(p->catalog) : SLICE_LIT("");
    p->conditions = arena_calloc(&p->arena, g->rule_count + 1, sizeof(*p->conditions));
    for (uint32_t i = 0; p->conditions != NULL && i < g->rule_count; i++) {
        struct access_condition *c = &p->conditions[p->count++];
        c->op = g->rules[i].op;
        c->column = arena_dup(&p->arena, g->rules[i].column);
        c->count = sets[i].count;
        c->values = arena_calloc(&p->arena, c->count + 1, sizeof(*c->values));
        if (c->column.ptr == NULL || c->values == NULL)
            return false;
        for (uint32_t k = 0; k < c->count; k++) {
            c->values[k] = arena_dup(&p->arena, sets[i].list[k].text);
            if (c->values[k].ptr == NULL)
                return false;
        }
        p->impossible |= c->count == 0;
        p->value_count += c->count;
        if (!access_condition_compile(&p->arena, c, table, p->catalog != NULL, server_zone))
            return false;
    }
    return p->conditions != NULL;
}

/* sets NULL: a claim is missing. */
static struct access_predicate *compile(const struct access_grant *g, const struct access_set *sets,
                                        struct slice table, struct schema_catalog *catalog)
{
    struct access_predicate *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->magic = ACCESS_PREDICATE_MAGIC;
    p->refs = 1;
    p->impossible = sets == NULL;
    p->catalog = catalog != NULL ? schema_catalog_ref(catalog) : NULL;
    arena_init(&p->arena, ARENA_BLOCK, SIZE_MAX);
    const struct schema_table *t = catalog != NULL ? schema_catalog_find(catalog, table) : NULL;
    if (sets != NULL && !fill(p, g, sets, t)) {
        access_predicate_unref(p);
        return NULL;
    }
    return p;
}

static void put_text(struct buf *key, struct slice s)
{
    buf_put_le64(key, s.len);
    buf_put_slice(key, s);
}

/* All that a predicate is made of. */
static void put_key(struct buf *key, const struct access_policy *policy,
                    const struct access_grant *g, const struct access_set *sets, struct slice table,
                    const struct schema_catalog *catalog)
{
    const struct schema_table *t = catalog != NULL ? schema_catalog_find(catalog, table) : NULL;
    buf_reset(key);
    buf_put_le64(key, access_policy_version(policy));
    buf_put_u8(key, (uint8_t)(catalog != NULL));
    buf_put_u8(key, (uint8_t)(t != NULL));
    buf_put_le64(key, t != NULL ? t->fingerprint : 0);
    put_text(key, catalog != NULL ? schema_catalog_timezone(catalog) : SLICE_LIT(""));
    put_text(key, table);
    put_text(key, g->role);
    for (uint32_t i = 0; sets != NULL && i < g->rule_count; i++) {
        buf_put_le64(key, sets[i].count);
        for (uint32_t k = 0; k < sets[i].count; k++)
            put_text(key, sets[i].list[k].text);
    }
    buf_put_u8(key, (uint8_t)(sets != NULL));
}

/* The values of all rules. *sets NULL: one cannot be resolved. */
static bool resolve(struct arena *a, const struct access_grant *g,
                    const struct access_claims *claims, struct access_set **sets)
{
    *sets = arena_calloc(a, g->rule_count + 1, sizeof(**sets));
    if (*sets == NULL)
        return false;
    for (uint32_t i = 0; i < g->rule_count; i++) {
        enum access_resolution r =
            access_template_resolve(a, &g->rules[i].value, g->rules[i].op, claims, &(*sets)[i]);
        if (r == ACCESS_NO_MEMORY)
            return false;
        if (r == ACCESS_UNRESOLVABLE) {
            *sets = NULL; /* whatever the other rules say */
            return true;
        }
    }
    return true;
}

struct access_predicate *access_predicates_get(struct access_predicates *s,
                                               const struct access_policy *policy,
                                               const struct access_grant *g, struct slice table,
                                               const struct access_claims *claims,
                                               struct schema_catalog *catalog)
{
    uint8_t hash[ACCESS_SHA256_BYTES];
    struct access_set *sets;
    struct slot *free_slot = NULL;
    uint32_t at;
    CHECK_MAGIC(s, SET_MAGIC);
    arena_reset(&s->scratch);
    if (!resolve(&s->scratch, g, claims, &sets))
        return NULL;
    put_key(&s->key, policy, g, sets, table, catalog);
    if (!buf_ok(&s->key))
        return NULL;
    access_sha256(buf_slice(&s->key), hash);
    memcpy(&at, hash, sizeof(at));
    for (uint32_t way = 0; way < WAYS; way++) {
        struct slot *slot = &s->slots[(at + way) % LIMIT_PREDICATES];
        if (slot->p != NULL && memcmp(slot->hash, hash, sizeof(hash)) == 0)
            return access_predicate_ref(slot->p);
        if (slot->p == NULL && free_slot == NULL)
            free_slot = slot;
    }
    struct access_predicate *p = compile(g, sets, table, catalog);
    if (p == NULL)
        return NULL;
    if (free_slot == NULL)
        free_slot = &s->slots[(at + s->turn++ % WAYS) % LIMIT_PREDICATES];
    access_predicate_unref(free_slot->p);
    memcpy(free_slot->hash, hash, sizeof(hash));
    free_slot->p = access_predicate_ref(p);
    return p;
}

/* ---- SQL ------------------------------------------------------------------------------------- */

static void put_quoted(struct buf *out, char quote, struct slice s)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == quote || s.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        if (s.ptr[i] == '\0') /* some lexers end at one */
            buf_put_str(out, "\\0");
        else
            buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

struct sql {
    struct buf *out;
    enum access_sql_style style;
    uint32_t number; /* of the next value */
};

static void put_value(const struct sql *s, struct slice value)
{
    if (s->style == ACCESS_SQL_PARAMETERS)
        buf_printf(s->out, "{p%u:String}", s->number);
    else
        put_quoted(s->out, '\'', value);
}

static void put_cast(const struct sql *s, const struct ch_type *t, struct slice value)
{
    buf_put_str(s->out, "accurateCastOrNull(");
    put_value(s, value);
    buf_put_str(s->out, ", ");
    put_quoted(s->out, '\'', t->text);
    buf_put_u8(s->out, ')');
}

static void put_instant(const struct sql *s, const struct ch_type *t, struct slice value)
{
    bool old = s->style == ACCESS_SQL_LITERALS && t->kind != CH_DATETIME64;
    if (t->kind == CH_DATE || t->kind == CH_DATE32)
        buf_put_str(s->out, t->kind == CH_DATE ? "toDate(" : "toDate32(");
    buf_put_str(s->out, old ? "parseDateTimeBestEffort(" : "parseDateTime64BestEffort(");
    put_value(s, value);
    if (!old)
        buf_put_str(s->out, t->kind == CH_DATETIME64 && t->precision == 9 ? ", 9" : ", 8");
    if (t->timezone.len > 0) {
        buf_put_str(s->out, ", ");
        put_quoted(s->out, '\'', t->timezone);
    }
    buf_put_str(s->out, t->kind == CH_DATE || t->kind == CH_DATE32 ? "))" : ")");
}

static void put_operand(const struct sql *s, const struct access_condition *c, struct slice value)
{
    const struct ch_type *t = c->type;
    if (t != NULL && c->family == ACCESS_COLUMN_INTEGER && s->style == ACCESS_SQL_PARAMETERS) {
        /* Only the usual spelling of an integer in range comes back from the cast as it was: no
         * wrap-around, no "01", no "1e3". */
        buf_put_str(s->out, "if(toString(");
        put_cast(s, t, value);
        buf_put_str(s->out, ") = ");
        put_value(s, value);
        buf_put_str(s->out, ", ");
        put_cast(s, t, value);
        buf_put_str(s->out, ", NULL)");
    } else if (t != NULL && c->family == ACCESS_COLUMN_INTEGER) {
        buf_put_slice(s->out, value); /* judged by is_dead: digits, within the range */
    } else if (t != NULL && (c->family == ACCESS_COLUMN_DATETIME || t->kind == CH_DATE ||
                             t->kind == CH_DATE32)) {
        put_instant(s, t, value);
    } else if (t != NULL && c->op == ACCESS_IN && t->kind != CH_STRING &&
               s->style == ACCESS_SQL_PARAMETERS) {
        put_cast(s, t, value);
    } else {
        put_value(s, value);
    }
}

/* A value that an integer column of an old server cannot equal: it is left out. */
static bool is_dead(const struct sql *s, const struct access_condition *c, struct slice value)
{
    return s->style == ACCESS_SQL_LITERALS && c->family == ACCESS_COLUMN_INTEGER &&
           !access_integer_fits(c->type, value);
}

/* ClickHouse refuses DateTime IN (DateTime64 …), and cuts the digits that a DateTime64 column does
 * not have: one comparison for each. */
static bool is_spelt_out(const struct access_condition *c)
{
    return c->op == ACCESS_IN && c->type != NULL && c->family == ACCESS_COLUMN_DATETIME;
}

/* False: nothing can pass. */
static bool put_condition(struct sql *s, const struct access_condition *c)
{
    static const char *const signs[] = {" = ", " != ", " > ", " < ", " IN ("};
    bool spelt_out = is_spelt_out(c);
    uint32_t written = 0;
    if (spelt_out)
        buf_put_u8(s->out, '(');
    for (uint32_t i = 0; i < c->count; i++, s->number++) {
        if (is_dead(s, c, c->values[i]))
            continue;
        if (written > 0)
            buf_put_str(s->out, spelt_out ? " OR " : ", ");
        if (written == 0 || spelt_out) {
            put_quoted(s->out, '`', c->column);
            buf_put_str(s->out, signs[spelt_out ? ACCESS_EQ : c->op]);
        }
        put_operand(s, c, c->values[i]);
        written++;
    }
    if (c->op == ACCESS_IN)
        buf_put_u8(s->out, ')');
    return written > 0;
}

bool access_predicate_sql(const struct access_predicate *p, enum access_sql_style style,
                          uint32_t first, struct buf *out)
{
    struct sql s = {out, style, first};
    size_t start = out->len;
    bool possible = !p->impossible;
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    if (possible && p->count == 0)
        return false;
    buf_put_u8(out, '(');
    for (uint32_t i = 0; possible && i < p->count; i++) {
        if (i > 0)
            buf_put_str(out, " AND ");
        possible = put_condition(&s, &p->conditions[i]);
    }
    if (!possible) {
        out->len = start;
        buf_put_str(out, "(1 = 0");
    }
    buf_put_u8(out, ')');
    return true;
}

uint32_t access_predicate_value_count(const struct access_predicate *p)
{
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    return p->impossible ? 0 : p->value_count;
}

struct slice access_predicate_value(const struct access_predicate *p, uint32_t i)
{
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    uint32_t c = 0;
    for (; i >= p->conditions[c].count; c++)
        i -= p->conditions[c].count;
    return p->conditions[c].values[i];
}
