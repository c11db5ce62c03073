/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fakech.h"

#include "base/magic.h"
#include "clickhouse/columns.h"
#include "clickhouse/http_client.h"
#include "clickhouse/native.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fakech *fake;

bool fakech_bad_id(uint32_t id)
{
    bool may = id >= fake->good_below && (fake->good_from == 0 || id < fake->good_from);
    return may && (id % 1009 == 7 || id % 997 == 5);
}

struct fakech *fakech_make(void)
{
    struct fakech *f =
        mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(f != MAP_FAILED);
    fake = f;
    return f;
}

void fakech_use(struct fakech *f)
{
    fake = f;
}

void fakech_lock(struct fakech *f)
{
    while (atomic_exchange(&f->lock, 1) != 0)
        (void)sched_yield();
}

void fakech_unlock(struct fakech *f)
{
    atomic_store(&f->lock, 0);
}

void fakech_kill(struct fakech *f, pid_t pid)
{
    int status;
    while (atomic_exchange(&f->lock, 1) != 0) {
        if (waitpid(pid, &status, WNOHANG) == pid) { /* it killed itself and left the lock */
            fakech_unlock(f);
            return;
        }
        (void)sched_yield();
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    fakech_unlock(f);
}

static enum ch_outcome fail(struct ch_error *e, enum ch_outcome o, int32_t code, const char *text)
{
    e->outcome = o;
    e->code = code;
    (void)snprintf(e->text, sizeof(e->text), "%s", text);
    e->from_view = strstr(text, "while pushing to view") != NULL;
    return o;
}

static uint64_t hash(const void *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    return h | 1;
}

static bool token_known(const char *token)
{
    uint64_t name = hash(token, strlen(token));
    uint32_t i = (uint32_t)name % FAKECH_TOKENS;
    while (fake->tokens[i].name != 0 && fake->tokens[i].name != name)
        i = (i + 1) % FAKECH_TOKENS;
    return fake->tokens[i].name == name;
}

/* True when the token is new; then it is kept. */
static bool token_new(const char *token, uint64_t rows)
{
    uint64_t name = hash(token, strlen(token));
    for (uint32_t i = (uint32_t)name % FAKECH_TOKENS;; i = (i + 1) % FAKECH_TOKENS) {
        if (fake->tokens[i].name == 0) {
            fake->tokens[i].name = name;
            fake->tokens[i].rows = rows;
            return true;
        }
        if (fake->tokens[i].name == name) {
            if (fake->tokens[i].rows != rows)
                atomic_fetch_add(&fake->misused, 1);
            return false;
        }
    }
}

static bool every(_Atomic uint32_t *n, uint32_t count)
{
    uint32_t k = atomic_load(n);
    return k > 0 && count % k == k - 1;
}

static enum ch_outcome insert(struct slice table, const uint32_t *ids, uint64_t count,
                              const char *token, bool ignore_views, struct ch_error *e)
{
    uint32_t n = atomic_fetch_add(&fake->inserts, 1);
    if (atomic_load(&fake->delay_us) > 0)
        (void)usleep(atomic_load(&fake->delay_us));
    while (atomic_load(&fake->held))
        (void)usleep(1000);
    if (atomic_load(&fake->down))
        return fail(e, CH_UNKNOWN_FATE, 0, "connection cut");
    if (slice_eq_str(table, "gone"))
        return fail(e, CH_SCHEMA, 60, "Table gone does not exist");
    if (every(&fake->busy_every, n) ||
        (atomic_load(&fake->beta_stuck) && slice_eq_str(table, "beta")))
        return fail(e, CH_TOO_MANY_PARTS, 252, "Too many parts");
    if (fake->split_rows > 0 && count > fake->split_rows)
        return fail(e, CH_SPLIT_PARTITIONS, 252, "Too many partitions for single INSERT block");
    for (uint64_t i = 0; i < count; i++)
        if (fakech_bad_id(ids[i])) {
            atomic_fetch_add(&fake->refused, 1);
            return fail(e, CH_DATA, 469, "Constraint violated");
        }
    fakech_lock(fake);
    bool displaced = atomic_load(&fake->displaced) > 0;
    if ((displaced || atomic_load(&fake->doubted) > 0) && token_known(token)) {
        uint32_t left = atomic_fetch_sub(displaced ? &fake->displaced : &fake->doubted, 1);
        fakech_unlock(fake);
        if (!displaced)
            return fail(e, CH_DATA, 117, "Incorrect data");
        return left % 2 != 0 ? fail(e, CH_TOO_MANY_PARTS, 252, "Too many parts")
                             : fail(e, CH_SCHEMA, 81, "Database does not exist");
    }
    if (token_new(token, hash(ids, count * sizeof(*ids))))
        for (uint64_t i = 0; i < count; i++)
            fake->stored[ids[i]]++;
    else
        atomic_fetch_add(&fake->repeats, 1);
    if (count > fake->largest)
        atomic_store(&fake->largest, (uint32_t)count);
    if (every(&fake->kill_after_every, n))
        (void)raise(SIGKILL); /* with the lock: no other insert is half done either */
    fakech_unlock(fake);
    if (every(&fake->fate_every, n))
        return fail(e, CH_UNKNOWN_FATE, 0, "answer lost");
    if (atomic_load(&fake->view_fails) && slice_eq_str(table, "gamma") && !ignore_views)
        return fail(e, CH_DATA, 6, "Cannot parse string: while pushing to view fake.mv");
    return CH_OK;
}

/* ---- native ---- */

/* An INSERT between its steps. */
struct ch_native {
    bool connected, sent, ended;
    bool ignore_views;
    char table[64], token[512];
    uint32_t *ids;
    uint64_t count;
};

static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static const struct ch_native *ended[16]; /* of this process, without a verdict */

/* Is there one of the table? */
static bool ended_find(const char *table)
{
    for (size_t i = 0; i < sizeof(ended) / sizeof(ended[0]); i++)
        if (ended[i] != NULL && strcmp(ended[i]->table, table) == 0)
            return true;
    return false;
}

static bool overlaps(const char *table)
{
    (void)pthread_mutex_lock(&ended_lock);
    bool found = ended_find(table);
    (void)pthread_mutex_unlock(&ended_lock);
    return found;
}

static void ended_replace(const struct ch_native *from, const struct ch_native *to)
{
    size_t i = 0;
    while (ended[i] != from)
        must(++i < sizeof(ended) / sizeof(ended[0]));
    ended[i] = to;
}

struct ch_native *ch_native_new(const struct ch_options *options)
{
    (void)options;
    return calloc(1, sizeof(struct ch_native));
}

void ch_native_free(struct ch_native *c)
{
    if (c == NULL)
        return;
    must(!c->ended && !c->sent);
    free(c->ids);
    free(c);
}

void ch_native_disconnect(struct ch_native *c)
{
    must(!c->ended && !c->sent);
    c->connected = false;
}

enum ch_outcome ch_native_ping(struct ch_native *c, struct ch_error *e)
{
    if (atomic_load(&fake->down))
        return fail(e, CH_UNAVAILABLE, 0, "connection refused");
    c->connected = true;
    return CH_OK;
}

/* ---- blocks: the ids ---- */

struct ch_block {
    uint32_t *ids;
    uint64_t count, cap;
    const struct schema_table *table;
    uint64_t bits; /* columns */
};

struct ch_block *ch_block_new(const struct schema_table *table, const uint32_t *columns,
                              uint32_t column_count, struct slice server_timezone)
{
    (void)server_timezone;
    must(table->column_count <= 64);
    struct ch_block *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return NULL;
    b->table = table;
    for (uint32_t i = 0; i < column_count; i++)
        b->bits |= (uint64_t)1 << columns[i];
    return b;
}

void ch_block_free(struct ch_block *b)
{
    if (b != NULL)
        free(b->ids);
    free(b);
}

void ch_block_reset(struct ch_block *b)
{
    b->count = 0;
}

uint64_t ch_block_rows(const struct ch_block *b)
{
    return b->count;
}

uint64_t ch_block_bytes(const struct ch_block *b)
{
    return b->count * sizeof(*b->ids);
}

uint64_t ch_block_held(const struct ch_block *b)
{
    return ch_block_bytes(b);
}

int ch_block_send(void *block, bool custom_byte, struct ch_sink *sink)
{
    (void)block;
    (void)custom_byte;
    (void)sink;
    return 0;
}

static uint32_t id_of(const struct json_doc *doc)
{
    for (uint32_t i = 1; i < doc->node_count; i = doc->nodes[i + 1].next)
        if (slice_eq_str(json_raw(doc, &doc->nodes[i]), "id"))
            return (uint32_t)strtoul(json_raw(doc, &doc->nodes[i + 1]).ptr, NULL, 10);
    return 0;
}

int ch_block_add(struct ch_block *b, const struct json_doc *doc, struct ch_value_error *e)
{
    uint32_t id = id_of(doc);
    if (id % 997 == 5 && fakech_bad_id(id)) {
        e->code = 27;
        (void)snprintf(e->text, sizeof(e->text), "Cannot parse input");
        return WH_ESYNTAX;
    }
    uint64_t bits = 0, apart = 0;
    ch_apart_columns(b->table, &apart);
    if (ch_row_columns(b->table, doc, &bits, e) != 0 || (bits & ~b->bits) != 0 ||
        (bits & apart) != (b->bits & apart))
        atomic_fetch_add(&fake->columns_wrong, 1);
    if (b->count == b->cap) {
        b->cap = b->cap == 0 ? 64 : b->cap * 2;
        b->ids = realloc(b->ids, b->cap * sizeof(*b->ids));
        must(b->ids != NULL);
    }
    b->ids[b->count++] = id;
    return 0;
}

int ch_row_columns(const struct schema_table *table, const struct json_doc *doc, uint64_t *bits,
                   struct ch_value_error *e)
{
    for (uint32_t i = 1; i < doc->node_count; i = doc->nodes[i + 1].next) {
        const struct schema_column *c = schema_table_column(table, json_raw(doc, &doc->nodes[i]));
        if (c == NULL) {
            e->code = 117;
            (void)snprintf(e->text, sizeof(e->text), "Unknown field");
            return WH_ESYNTAX;
        }
        bits[c->ordinal / 64] |= (uint64_t)1 << (c->ordinal % 64);
    }
    return 0;
}

void ch_apart_columns(const struct schema_table *table, uint64_t *bits)
{
    for (uint32_t i = 0; i < table->column_count; i++)
        if (table->columns[i].default_kind != SCHEMA_DEFAULT_NONE)
            bits[i / 64] |= (uint64_t)1 << (i % 64);
}

bool ch_block_try_add(struct ch_block *b, const struct json_doc *doc)
{
    struct ch_value_error e;
    uint64_t bits = 0;
    return ch_row_columns(b->table, doc, &bits, &e) == 0 && bits == b->bits &&
           ch_block_add(b, doc, &e) == 0;
}

enum ch_outcome ch_native_insert_send(struct ch_native *c, const struct ch_insert *in,
                                      struct ch_error *e)
{
    const struct ch_block *b = in->ctx;
    must(b->count == in->row_count && in->column_count > 0 && !c->sent && !c->ended);
    if (atomic_load(&fake->down) || every(&fake->cut_every, atomic_fetch_add(&fake->sends, 1)))
        return fail(e, CH_UNKNOWN_FATE, 0, "connection cut");
    (void)snprintf(c->table, sizeof(c->table), "%.*s", SLICE_ARG(in->table));
    if (atomic_load(&fake->one_only) && overlaps(c->table))
        return fail(e, CH_UNAVAILABLE, 202, "Too many simultaneous queries");
    c->ids = realloc(c->ids, (b->count + 1) * sizeof(*c->ids));
    must(c->ids != NULL && in->table.len < sizeof(c->table));
    memcpy(c->ids, b->ids, b->count * sizeof(*c->ids));
    c->count = b->count;
    c->ignore_views = in->ignore_views;
    (void)snprintf(c->token, sizeof(c->token), "%s", in->token);
    c->sent = true;
    if (overlaps(c->table))
        atomic_fetch_add(&fake->overlapped, 1);
    return CH_OK;
}

enum ch_outcome ch_native_insert_end(struct ch_native *c, struct ch_error *e)
{
    (void)e;
    must(c->sent && !c->ended);
    (void)pthread_mutex_lock(&ended_lock);
    if (ended_find(c->table))
        atomic_fetch_add(&fake->disordered, 1);
    ended_replace(NULL, c);
    (void)pthread_mutex_unlock(&ended_lock);
    c->sent = false;
    c->ended = true;
    return CH_OK;
}

/* Every third time the connection breaks instead, and the rows are stored, as old servers do. */
enum ch_outcome ch_native_insert_cancel(struct ch_native *c, struct ch_error *e)
{
    must(c->sent);
    c->sent = false;
    if (atomic_fetch_add(&fake->cancelled, 1) % 3 != 2)
        return CH_OK;
    (void)insert(slice_str(c->table), c->ids, c->count, c->token, c->ignore_views, e);
    return CH_UNKNOWN_FATE;
}

enum ch_outcome ch_native_insert_wait(struct ch_native *c, struct ch_error *e)
{
    must(c->ended);
    enum ch_outcome o = insert(slice_str(c->table), c->ids, c->count, c->token, c->ignore_views, e);
    (void)pthread_mutex_lock(&ended_lock);
    ended_replace(c, NULL);
    (void)pthread_mutex_unlock(&ended_lock);
    c->ended = false;
    return o;
}

enum ch_outcome ch_native_insert(struct ch_native *c, const struct ch_insert *in,
                                 struct ch_error *e)
{
    enum ch_outcome o = ch_native_insert_send(c, in, e);
    if (o == CH_OK)
        o = ch_native_insert_end(c, e);
    return o == CH_OK ? ch_native_insert_wait(c, e) : o;
}

/* ---- HTTP ---- */

struct ch_http {
    int unused;
};

struct ch_http *ch_http_new(const struct ch_options *options)
{
    (void)options;
    return calloc(1, sizeof(struct ch_http));
}

void ch_http_free(struct ch_http *c)
{
    free(c);
}

enum ch_outcome ch_http_query(struct ch_http *c, const struct ch_http_request *q, struct buf *out,
                              struct ch_error *e)
{
    struct ch_block b = {0};
    const char *at = q->body.ptr, *end = q->body.ptr + q->body.len;
    const char *token = strstr(q->settings, "insert_deduplication_token=");
    const char *name = memchr(q->sql.ptr, '`', q->sql.len);
    const char *name_end =
        name != NULL ? memchr(name + 1, '`', (size_t)(q->sql.ptr + q->sql.len - name - 1)) : NULL;
    (void)c;
    (void)out;
    must(name != NULL && name_end != NULL);
    struct slice table = {name + 1, (size_t)(name_end - name - 1)};
    for (; at < end && (at = memmem(at, (size_t)(end - at), "\"id\":", 5)) != NULL; at++) {
        b.ids = realloc(b.ids, (b.count + 1) * sizeof(*b.ids));
        must(b.ids != NULL);
        b.ids[b.count++] = (uint32_t)strtoul(at + 5, NULL, 10);
    }
    bool ignore_views = strstr(q->settings, "materialized_views_ignore_errors=1") != NULL;
    enum ch_outcome o = insert(table, b.ids, b.count, token, ignore_views, e);
    free(b.ids);
    return o;
}
