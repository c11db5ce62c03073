/* SPDX-License-Identifier: Apache-2.0 */
/* Who may see what, shared as far as it is the same.
 *
 *   table ── class: grant and predicate ──┬── channel: the classes of one list of tables
 *                └─ projection: grant ────┘        (what one kind of subscriber is sent)
 *
 * A predicate is evaluated once per class and record, a frame made once per projection and record.
 * Everything is found again by what it is made of, and goes with its last user. */
#include "stream/priv.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v;
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

static uint32_t bucket_of(uint64_t h)
{
    return (uint32_t)((h ^ (h >> 17)) % STREAM_BUCKETS);
}

static uint64_t name_hash(struct slice name, bool dead_letters)
{
    uint64_t h = dead_letters ? 7 : 1;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.ptr[i]) * 0x100000001b3u;
    return mix(h, name.len);
}

/* ---- tables ---- */

static struct stream_table *table_find(struct stream_hub *h, struct slice name, bool dead_letters)
{
    struct stream_table *t = h->tables[bucket_of(name_hash(name, dead_letters))];
    while (t != NULL && (t->dead_letters != dead_letters || !slice_eq(t->name, name)))
        t = t->next;
    return t;
}

static struct stream_table *table_get(struct stream_hub *h, struct slice name, bool dead_letters)
{
    struct stream_table *t = table_find(h, name, dead_letters);
    if (t != NULL) {
        t->refs++;
        return t;
    }
    t = calloc(1, sizeof(*t) + name.len);
    if (t == NULL)
        return NULL;
    memcpy(t->text, name.ptr, name.len);
    t->name = (struct slice){t->text, name.len};
    t->dead_letters = dead_letters;
    t->refs = 1;
    buf_init(&t->prefix, SIZE_MAX);
    buf_put_str(&t->prefix, "{\"table_name\":");
    buf_put_json_string(&t->prefix, name);
    buf_put_str(&t->prefix, ",\"received_timestamp\":\"");
    if (!buf_ok(&t->prefix)) {
        buf_fini(&t->prefix);
        free(t);
        return NULL;
    }
    struct stream_table **at = &h->tables[bucket_of(name_hash(name, dead_letters))];
    t->next = *at;
    *at = t;
    return t;
}

static void table_unref(struct stream_hub *h, struct stream_table *t)
{
    if (--t->refs > 0)
        return;
    struct stream_table **at = &h->tables[bucket_of(name_hash(t->name, t->dead_letters))];
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    buf_fini(&t->prefix);
    free(t);
}

struct stream_class *stream_rights_classes(struct stream_hub *h, struct slice table)
{
    const struct stream_table *t = h->class_total > 0 ? table_find(h, table, false) : NULL;
    return t != NULL ? t->classes : NULL;
}

struct stream_class *stream_rights_dead_letters(struct stream_hub *h)
{
    const struct stream_table *t =
        h->dead_letter_classes > 0 ? table_find(h, SLICE_LIT("dlq"), true) : NULL;
    return t != NULL ? t->classes : NULL;
}

/* ---- projections ---- */

static bool shows_all(const struct stream_projection *p)
{
    if (p->grant != NULL && (p->grant->allow_columns.count > 0 || p->grant->deny_columns.count > 0))
        return false;
    for (uint32_t i = 0; p->schema != NULL && i < p->schema->column_count; i++)
        if (p->schema->columns[i].default_kind == SCHEMA_DEFAULT_EPHEMERAL)
            return false;
    return true;
}

static struct stream_projection *projection_get(struct stream_hub *h,
                                                const struct access_grant *grant,
                                                const struct schema_table *schema)
{
    for (struct stream_projection *p = h->projections; p != NULL; p = p->next)
        if (p->grant == grant && p->schema == schema &&
            (schema == NULL || p->catalog == h->catalog)) {
            p->refs++;
            return p;
        }
    struct stream_projection *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->refs = 1;
    p->grant = grant;
    p->policy = grant != NULL ? access_policy_ref(h->policy) : NULL;
    p->schema = schema;
    p->catalog = schema != NULL ? schema_catalog_ref(h->catalog) : NULL;
    p->identity = shows_all(p);
    buf_init(&p->text[0], SIZE_MAX);
    buf_init(&p->text[1], SIZE_MAX);
    p->next = h->projections;
    h->projections = p;
    return p;
}

static void projection_unref(struct stream_hub *h, struct stream_projection *p)
{
    if (--p->refs > 0)
        return;
    struct stream_projection **at = &h->projections;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    access_policy_unref(p->policy);
    schema_catalog_unref(p->catalog);
    buf_fini(&p->text[0]);
    buf_fini(&p->text[1]);
    free(p);
}

/* ---- classes ---- */

static uint64_t class_hash(const struct stream_table *t, const struct stream_projection *p,
                           const struct access_predicate *predicate)
{
    return mix(mix(mix(3, (uintptr_t)t), (uintptr_t)p), (uintptr_t)predicate);
}

static void class_unref(struct stream_hub *h, struct stream_class *cl)
{
    if (--cl->refs > 0)
        return;
    must(cl->channel_count == 0);
    struct stream_class **at = &cl->table->classes;
    while (*at != cl)
        at = &(*at)->next;
    *at = cl->next;
    at = &h->classes[bucket_of(class_hash(cl->table, cl->projection, cl->predicate))];
    while (*at != cl)
        at = &(*at)->hash_next;
    *at = cl->hash_next;
    h->class_total--;
    h->dead_letter_classes -= cl->table->dead_letters;
    projection_unref(h, cl->projection);
    access_predicate_unref(cl->predicate);
    table_unref(h, cl->table);
    free(cl->channels);
    free(cl);
}

/* Takes the three references over, also on failure. */
static struct stream_class *class_take(struct stream_hub *h, struct stream_table *t,
                                       struct stream_projection *p,
                                       struct access_predicate *predicate, struct slice role)
{
    struct stream_class **bucket = NULL, *cl = NULL;
    if (t != NULL && p != NULL) {
        bucket = &h->classes[bucket_of(class_hash(t, p, predicate))];
        for (cl = *bucket; cl != NULL; cl = cl->hash_next)
            if (cl->table == t && cl->projection == p && cl->predicate == predicate)
                break;
        if (cl != NULL) {
            cl->refs++;
            projection_unref(h, p);
            access_predicate_unref(predicate);
            table_unref(h, t);
            return cl;
        }
        cl = calloc(1, sizeof(*cl));
    }
    if (cl == NULL) {
        if (p != NULL)
            projection_unref(h, p);
        access_predicate_unref(predicate);
        if (t != NULL)
            table_unref(h, t);
        return NULL;
    }
    cl->refs = 1;
    cl->table = t;
    cl->projection = p;
    cl->predicate = predicate;
    cl->role = role;
    cl->next = t->classes;
    t->classes = cl;
    cl->hash_next = *bucket;
    *bucket = cl;
    h->class_total++;
    h->dead_letter_classes += t->dead_letters;
    return cl;
}

/* What sub may see of one table: 0 and *out, NULL for nothing; -ENOMEM. */
static int class_of(struct stream_hub *h, const struct stream_sub *sub, struct slice name,
                    struct stream_class **out)
{
    struct access_decision d = {.gate = ACCESS_UNRESTRICTED};
    const struct schema_table *schema =
        h->catalog != NULL ? schema_catalog_find(h->catalog, name) : NULL;
    /* The dead letters of all tables are for admins, in a stream of their own. */
    bool dead = schema == NULL && sub->table_count == 1 && slice_eq_str(name, "dlq");
    *out = NULL;
    if (!sub->unrestricted && dead)
        access_gate_ops(h->policy, &sub->caller, &d);
    else if (!sub->unrestricted)
        access_gate_table(h->policy, &sub->caller, name, ACCESS_SELECT, &d);
    if (d.gate == ACCESS_DENIED)
        return 0;
    const struct access_grant *grant = d.gate == ACCESS_GRANTED && !dead ? d.grant : NULL;
    struct access_predicate *predicate = NULL;
    if (grant != NULL && grant->rule_count > 0) {
        predicate =
            access_predicates_get(h->predicates, h->policy, grant, name, sub->claims, h->catalog);
        if (predicate == NULL)
            return -ENOMEM;
    }
    *out = class_take(h, table_get(h, name, dead), projection_get(h, grant, schema), predicate,
                      grant != NULL ? grant->role : (struct slice){NULL, 0});
    return *out != NULL ? 0 : -ENOMEM;
}

/* ---- channels ---- */

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (struct stream_class *const *)a;
    uintptr_t y = (uintptr_t) * (struct stream_class *const *)b;
    return x < y ? -1 : x > y;
}

static uint32_t channel_bucket(struct stream_class *const *classes, uint32_t count, bool positional)
{
    uint64_t hash = positional ? 11 : 5;
    for (uint32_t i = 0; i < count; i++)
        hash = mix(hash, (uintptr_t)classes[i]);
    return bucket_of(hash);
}

static bool class_add_channel(struct stream_class *cl, struct stream_channel *ch)
{
    if (cl->channel_count == cl->channel_cap) {
        uint32_t cap = cl->channel_cap == 0 ? 1 : cl->channel_cap * 2;
        struct stream_channel **channels =
            realloc(cl->channels, cap * sizeof(struct stream_channel *));
        if (channels == NULL)
            return false;
        cl->channels = channels;
        cl->channel_cap = cap;
    }
    cl->channels[cl->channel_count++] = ch;
    return true;
}

static void class_drop_channel(struct stream_class *cl, const struct stream_channel *ch)
{
    for (uint32_t i = 0; i < cl->channel_count; i++)
        if (cl->channels[i] == ch) {
            cl->channels[i] = cl->channels[--cl->channel_count];
            return;
        }
}

static void channel_memory_free(struct stream_hub *h, struct stream_channel *ch)
{
    for (uint32_t i = 0; i < h->options.loops; i++)
        stream_msg_free(ch->loops[i].end);
    buf_fini(&ch->out);
    free(ch->classes);
    free(ch);
}

/* Takes the classes over when it succeeds. */
static struct stream_channel *channel_new(struct stream_hub *h, struct stream_class **classes,
                                          uint32_t count, bool positional)
{
    struct stream_channel *ch = calloc(1, sizeof(*ch) + h->options.loops * sizeof(ch->loops[0]));
    if (ch == NULL)
        return NULL;
    buf_init(&ch->out, SIZE_MAX);
    ch->refs = 1;
    ch->positional = positional;
    ch->classes = malloc((count + 1) * sizeof(struct stream_class *));
    bool fine = ch->classes != NULL;
    for (uint32_t i = 0; i < h->options.loops && fine; i++)
        fine = (ch->loops[i].end = stream_msg_new(STREAM_END)) != NULL;
    uint32_t added = 0;
    while (fine && added < count && (fine = class_add_channel(classes[added], ch)))
        added++;
    if (!fine) {
        while (added > 0)
            class_drop_channel(classes[--added], ch);
        channel_memory_free(h, ch);
        return NULL;
    }
    if (count > 0)
        memcpy(ch->classes, classes, count * sizeof(struct stream_class *));
    ch->class_count = count;
    struct stream_channel **bucket = &h->channels[channel_bucket(classes, count, positional)];
    ch->hash_next = *bucket;
    *bucket = ch;
    metric_add(h->metrics.channels, 1);
    return ch;
}

static struct stream_channel *channel_find(struct stream_hub *h,
                                           struct stream_class *const *classes, uint32_t count,
                                           bool positional)
{
    struct stream_channel *ch = h->channels[channel_bucket(classes, count, positional)];
    for (; ch != NULL; ch = ch->hash_next)
        if (ch->positional == positional && ch->class_count == count &&
            (count == 0 ||
             memcmp(ch->classes, classes, count * sizeof(struct stream_class *)) == 0))
            break;
    return ch;
}

struct stream_channel *stream_rights_channel(struct stream_hub *h, const struct stream_sub *sub)
{
    struct stream_class *classes[STREAM_TABLES_MAX];
    uint32_t count = 0;
    int rc = 0;
    for (uint32_t i = 0; i < sub->table_count && rc == 0; i++) {
        struct stream_class *cl;
        rc = class_of(h, sub, sub->tables[i], &cl);
        bool known = cl == NULL;
        for (uint32_t k = 0; k < count && !known; k++)
            known = classes[k] == cl; /* a table that was named twice */
        if (!known)
            classes[count++] = cl;
        else if (cl != NULL)
            class_unref(h, cl);
    }
    struct stream_channel *ch = NULL;
    if (rc == 0) {
        if (count > 0)
            qsort(classes, count, sizeof(classes[0]), by_address);
        ch = channel_find(h, classes, count, sub->positional);
        if (ch != NULL)
            ch->refs++;
        else if ((ch = channel_new(h, classes, count, sub->positional)) != NULL)
            return ch; /* with our references to the classes */
    }
    while (count > 0)
        class_unref(h, classes[--count]);
    return ch;
}

void stream_channel_free(struct stream_hub *h, struct stream_channel *ch)
{
    metric_add(h->metrics.channels, -1);
    channel_memory_free(h, ch);
}

void stream_channel_unref(struct stream_hub *h, struct stream_channel *ch)
{
    if (ch == NULL || --ch->refs > 0)
        return;
    must(!ch->dirty);
    struct stream_channel **at =
        &h->channels[channel_bucket(ch->classes, ch->class_count, ch->positional)];
    while (*at != ch)
        at = &(*at)->hash_next;
    *at = ch->hash_next;
    for (uint32_t i = 0; i < ch->class_count; i++) {
        class_drop_channel(ch->classes[i], ch);
        class_unref(h, ch->classes[i]);
    }
    ch->class_count = 0;
    /* Frames for it may be on their way: it ends behind them. */
    ch->ending = true;
    uint32_t loops = atomic_load(&h->loop_count);
    ch->ends_out = loops;
    for (uint32_t i = 0; i < loops; i++) {
        ch->loops[i].end->channel = ch;
        struct stream_msg *end = ch->loops[i].end;
        ch->loops[i].end = NULL;
        stream_post(h->loops[i], end);
    }
    if (loops == 0)
        stream_channel_free(h, ch);
}
