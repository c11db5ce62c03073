/* SPDX-License-Identifier: Apache-2.0 */
#include "query/depend.h"

#include "base/limits.h"
#include "clickhouse/http_client.h"
#include "query/cache.h"
#include "schema/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

struct edge {
    uint32_t to;
    uint32_t next; /* of the same table; 0: none (edges count from 1) */
};

struct table {
    struct slice name, engine, text;
    uint32_t first_edge;
    bool is_database; /* not a table at all */
    bool unsure;
    uint16_t *slots;
    uint32_t slot_count;
};

struct query_depend {
    char *bytes; /* the answer; names point into it */
    struct slice database;
    struct table *tables; /* sorted by name, databases behind tables of the same name */
    uint32_t count;
    struct edge *edges;
    uint32_t edge_count, edge_cap;
    bool no_memory;
};

void query_depend_sql(struct buf *out, struct slice database)
{
    /* Of a plain table its last change, so that the answer tells when something was altered. */
    buf_put_str(out, "SELECT name, engine, if(engine LIKE '%MergeTree', "
                     "toString(metadata_modification_time), create_table_query) FROM system.tables "
                     "WHERE database = ");
    schema_put_quoted(out, database, '\'');
    buf_put_str(out, " UNION ALL SELECT name, '', '' FROM system.databases");
}

static int by_name(const void *a, const void *b)
{
    const struct table *x = a, *y = b;
    int c = slice_compare(x->name, y->name);
    return c != 0 ? c : (int)x->is_database - (int)y->is_database;
}

/* The table, or the database, of that name. */
static struct table *find(const struct query_depend *d, struct slice name, bool is_database)
{
    struct table key = {.name = name, .is_database = is_database};
    return d->count > 0 ? bsearch(&key, d->tables, d->count, sizeof(key), by_name) : NULL;
}

static void add_edge(struct query_depend *d, struct table *from, const struct table *to)
{
    if (from == to || d->no_memory)
        return;
    for (uint32_t i = from->first_edge; i != 0; i = d->edges[i].next)
        if (d->tables + d->edges[i].to == to)
            return;
    if (d->edge_count + 1 >= d->edge_cap) {
        uint32_t cap = d->edge_cap > 0 ? d->edge_cap * 2 : 64;
        struct edge *more = realloc(d->edges, cap * sizeof(*more));
        if (more == NULL) {
            d->no_memory = true;
            return;
        }
        d->edges = more;
        d->edge_cap = cap;
    }
    d->edges[++d->edge_count] =
        (struct edge){.to = (uint32_t)(to - d->tables), .next = from->first_edge};
    from->first_edge = d->edge_count;
}

static bool ends_with(struct slice s, const char *tail)
{
    size_t n = strlen(tail);
    return s.len >= n && memcmp(s.ptr + s.len - n, tail, n) == 0;
}

static bool is_one_of(struct slice s, const char *const *words)
{
    for (; *words != NULL; words++)
        if (slice_eq_str(s, *words))
            return true;
    return false;
}

/* Tables whose rows are theirs alone. */
static bool is_plain(struct slice engine)
{
    static const char *const plain[] = {"Log", "TinyLog", "StripeLog", "Memory",
                                        "Set", "Join",    "Null",      NULL};
    return ends_with(engine, "MergeTree") || is_one_of(engine, plain);
}

/* What reads from elsewhere, in a view's text. Names that are not here read nothing that changes.
 */
static bool reads_elsewhere(struct slice function)
{
    static const char *const names[] = {"remote",
                                        "remoteSecure",
                                        "cluster",
                                        "clusterAllReplicas",
                                        "merge",
                                        "url",
                                        "file",
                                        "s3",
                                        "s3Cluster",
                                        "gcs",
                                        "hdfs",
                                        "mysql",
                                        "sqlite",
                                        "postgresql",
                                        "odbc",
                                        "jdbc",
                                        "mongodb",
                                        "redis",
                                        "iceberg",
                                        "deltaLake",
                                        "hudi",
                                        "dictionary",
                                        "executable",
                                        "joinGet",
                                        "catBoostEvaluate",
                                        "azureBlobStorage",
                                        "urlCluster",
                                        "fileCluster",
                                        "loop",
                                        NULL};
    return is_one_of(function, names) ||
           (function.len >= 7 && memcmp(function.ptr, "dictGet", 7) == 0) ||
           (function.len >= 7 && memcmp(function.ptr, "dictHas", 7) == 0);
}

/* The next name, quoted or bare, or text in apostrophes; false at the end. */
static bool next_name(struct slice *in, struct buf *name, bool *is_bare)
{
    const char *p = in->ptr, *end = p + in->len;
    buf_reset(name);
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '`' || c == '"' || c == '\'') {
            for (p++; p < end && (unsigned char)*p != c; p++) {
                if (*p == '\\' && p + 1 < end)
                    p++;
                buf_put_u8(name, (uint8_t)*p);
            }
            p += p < end;
            *is_bare = false;
            break;
        }
        if (isalpha(c) || c == '_' || c >= 0x80) {
            for (;
                 p < end && (isalnum((unsigned char)*p) || *p == '_' || (unsigned char)*p >= 0x80);
                 p++)
                buf_put_u8(name, (uint8_t)*p);
            *is_bare = true;
            break;
        }
    }
    bool found = buf_ok(name) && p > in->ptr && (p < end || name->len > 0);
    *in = (struct slice){p, (size_t)(end - p)};
    return found;
}

/* Join a table that is not plain with those that its text names. */
static void join(struct query_depend *d, struct table *t, struct buf *name)
{
    static const char *const known[] = {"View", "MaterializedView", "Buffer", "LiveView", NULL};
    bool both_ways = !slice_eq_str(t->engine, "View");
    struct slice rest = t->text;
    bool is_bare = false;
    t->unsure = t->text.len == 0 || !is_one_of(t->engine, known);
    while (next_name(&rest, name, &is_bare)) {
        struct slice word = buf_slice(name);
        struct table *other = find(d, word, false);
        if (is_bare && rest.len > 0 && *rest.ptr == '(' && reads_elsewhere(word))
            t->unsure = true;
        if (rest.len > 0 && *rest.ptr == '.' && !slice_eq(word, d->database) &&
            find(d, word, true) != NULL)
            t->unsure = true;
        if (other == NULL || other == t)
            continue;
        add_edge(d, other, t);
        if (both_ways) /* a materialized view's target, the table behind a Buffer */
            add_edge(d, t, other);
    }
}

/* Everything that can be reached, as slots. seen: a mark for each table, the number of the walk. */
static int close_over(struct query_depend *d, uint32_t from, uint32_t *seen, uint32_t *queue)
{
    uint32_t head = 0, tail = 0;
    queue[tail++] = from;
    seen[from] = from + 1;
    while (head < tail)
        for (uint32_t i = d->tables[queue[head++]].first_edge; i != 0; i = d->edges[i].next)
            if (seen[d->edges[i].to] != from + 1) {
                seen[d->edges[i].to] = from + 1;
                queue[tail++] = d->edges[i].to;
            }
    struct table *t = &d->tables[from];
    if (tail == 1)
        return 0;
    t->slots = calloc(tail - 1, sizeof(*t->slots));
    if (t->slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 1; i < tail; i++)
        t->slots[t->slot_count++] = (uint16_t)query_cache_slot(d->tables[queue[i]].name);
    return 0;
}

/* A view over a view of which we are not sure is none either. */
static void spread_doubt(struct query_depend *d)
{
    bool more = true;
    while (more) {
        more = false;
        for (uint32_t i = 0; i < d->count; i++)
            for (uint32_t k = d->tables[i].unsure ? d->tables[i].first_edge : 0; k != 0;
                 k = d->edges[k].next)
                if (!d->tables[d->edges[k].to].unsure) {
                    d->tables[d->edges[k].to].unsure = true;
                    more = true;
                }
    }
}

static int build(struct query_depend *d, struct slice answer)
{
    struct slice rest = answer, a, b, c;
    while (rest.len > 0) {
        if (!ch_take_string(&rest, &a) || !ch_take_string(&rest, &b) || !ch_take_string(&rest, &c))
            return WH_ESYNTAX;
        d->count++;
    }
    if (d->count > 4 * LIMIT_TABLES)
        return WH_ELIMIT;
    d->tables = calloc(d->count + 1, sizeof(*d->tables));
    if (d->tables == NULL)
        return -ENOMEM;
    rest = answer;
    for (struct table *t = d->tables; rest.len > 0; t++) {
        (void)(ch_take_string(&rest, &t->name) && ch_take_string(&rest, &t->engine) &&
               ch_take_string(&rest, &t->text));
        t->is_database = t->engine.len == 0;
    }
    qsort(d->tables, d->count, sizeof(*d->tables), by_name);
    struct buf name;
    buf_init(&name, MIB);
    for (uint32_t i = 0; i < d->count; i++)
        if (!d->tables[i].is_database && !is_plain(d->tables[i].engine))
            join(d, &d->tables[i], &name);
    buf_fini(&name);
    spread_doubt(d);
    uint32_t *work = calloc(2 * ((size_t)d->count + 1), sizeof(*work));
    int rc = work == NULL || d->no_memory ? -ENOMEM : 0;
    for (uint32_t i = 0; rc == 0 && i < d->count; i++)
        if (d->tables[i].first_edge != 0)
            rc = close_over(d, i, work, work + d->count + 1);
    free(work);
    return rc;
}

int query_depend_new(struct slice answer, struct slice database, struct query_depend **out)
{
    struct query_depend *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return -ENOMEM;
    d->bytes = malloc(answer.len + database.len + 1);
    int rc = -ENOMEM;
    if (d->bytes != NULL) {
        if (answer.len > 0)
            memcpy(d->bytes, answer.ptr, answer.len);
        memcpy(d->bytes + answer.len, database.ptr, database.len);
        d->database = (struct slice){d->bytes + answer.len, database.len};
        rc = build(d, (struct slice){d->bytes, answer.len});
    }
    if (rc != 0) {
        query_depend_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

void query_depend_free(struct query_depend *d)
{
    if (d == NULL)
        return;
    for (uint32_t i = 0; d->tables != NULL && i < d->count; i++)
        free(d->tables[i].slots);
    free(d->tables);
    free(d->edges);
    free(d->bytes);
    free(d);
}

const uint16_t *query_depend_slots(const struct query_depend *d, struct slice table,
                                   uint32_t *count)
{
    const struct table *t = d != NULL ? find(d, table, false) : NULL;
    *count = t != NULL ? t->slot_count : 0;
    return t != NULL ? t->slots : NULL;
}

bool query_depend_unsure(const struct query_depend *d, struct slice table)
{
    const struct table *t = d != NULL ? find(d, table, false) : NULL;
    return t == NULL || t->unsure;
}
