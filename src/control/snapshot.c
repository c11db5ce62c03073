/* SPDX-License-Identifier: Apache-2.0 */
#include "control/snapshot.h"

#include "base/log.h"
#include "base/magic.h"
#include "control/entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SNAPSHOT_MAGIC 0x43534e50u
#define WARNINGS_MAX   20 /* lines about one policy */
/* An epoch is a log; there will not be 65,535 of them, nor 2^48 entries in one. */
#define INDEX_BITS 48

struct control_snapshot {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint64_t version;
    struct access_policy *policy;
    bool has_policy; /* the document below */
    struct control_document policy_document;
    struct control_document *pipes;
    uint32_t pipe_count, pipe_cap;
    struct buf text; /* what the documents point into */
};

struct control_snapshot *control_snapshot_ref(struct control_snapshot *s)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void control_snapshot_unref(struct control_snapshot *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    access_policy_unref(s->policy);
    free(s->pipes);
    buf_fini(&s->text);
    s->magic = 0;
    free(s);
}

uint64_t control_snapshot_version(const struct control_snapshot *s)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    return s->version;
}

const struct access_policy *control_snapshot_policy(const struct control_snapshot *s)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    return s->policy;
}

const struct control_document *control_snapshot_policy_document(const struct control_snapshot *s)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    return s->has_policy ? &s->policy_document : NULL;
}

const struct control_document *control_snapshot_pipes(const struct control_snapshot *s,
                                                      uint32_t *count)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    *count = s->pipe_count;
    return s->pipes;
}

static int name_is(const void *key, const void *pipe)
{
    return slice_compare(*(const struct slice *)key, ((const struct control_document *)pipe)->name);
}

const struct control_document *control_snapshot_pipe(const struct control_snapshot *s,
                                                     struct slice name)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    if (s->pipe_count == 0 || name.len == 0)
        return NULL;
    return bsearch(&name, s->pipes, s->pipe_count, sizeof(*s->pipes), name_is);
}

uint64_t control_snapshot_bytes(const struct control_snapshot *s)
{
    CHECK_MAGIC(s, SNAPSHOT_MAGIC);
    return s->text.len;
}

struct slice control_key(char room[CONTROL_KEY_CAP], int kind, struct slice name)
{
    must(name.len < CONTROL_KEY_CAP);
    room[0] = (char)kind;
    if (name.len > 0)
        memcpy(room + 1, name.ptr, name.len);
    return (struct slice){room, 1 + name.len};
}

/* ---- making one ---- */

struct loader {
    struct control_snapshot *s;
    struct err *e;
    int rc;
};

static uint64_t version_of(const struct control_document *d)
{
    return (uint64_t)d->epoch << INDEX_BITS | d->index;
}

static struct control_document *pipe_add(struct control_snapshot *s)
{
    if (s->pipe_count == s->pipe_cap) {
        uint32_t cap = s->pipe_cap == 0 ? 16 : 2 * s->pipe_cap;
        struct control_document *pipes = realloc(s->pipes, cap * sizeof(*pipes));
        if (pipes == NULL)
            return NULL;
        s->pipes = pipes;
        s->pipe_cap = cap;
    }
    return &s->pipes[s->pipe_count++];
}

/* Into the snapshot's own memory; which may move until all are read, so offsets stand for pointers.
 */
static struct slice keep(struct control_snapshot *s, struct slice bytes)
{
    struct slice kept = {(const char *)(uintptr_t)s->text.len, bytes.len};
    buf_put_slice(&s->text, bytes);
    return kept;
}

static bool load_one(void *ctx, struct slice key, struct slice value)
{
    struct loader *l = ctx;
    struct control_snapshot *s = l->s;
    struct control_document d = {.name = {key.ptr + 1, key.len - 1}}, *to;
    l->rc = control_value_get(value, &d, l->e);
    if (l->rc != 0)
        return false;
    if (key.ptr[0] == CONTROL_NEWEST) {
        s->version = version_of(&d);
        return true;
    }
    if (key.ptr[0] != CONTROL_POLICY && key.ptr[0] != CONTROL_PIPE)
        return true; /* of a later version */
    to = key.ptr[0] == CONTROL_POLICY ? &s->policy_document : pipe_add(s);
    if (to != NULL) {
        d.name = keep(s, d.name);
        d.text = keep(s, d.text);
        d.who = keep(s, d.who);
        *to = d;
        s->has_policy = s->has_policy || key.ptr[0] == CONTROL_POLICY;
    }
    if (to == NULL || !buf_ok(&s->text))
        l->rc = err_set(l->e, -ENOMEM, "control: out of memory");
    return l->rc == 0;
}

static void settle_slice(const struct control_snapshot *s, struct slice *at)
{
    at->ptr = s->text.ptr + (uintptr_t)at->ptr;
}

static void settle_document(const struct control_snapshot *s, struct control_document *d)
{
    settle_slice(s, &d->name);
    settle_slice(s, &d->text);
    settle_slice(s, &d->who);
}

static int parse_policy(struct control_snapshot *s, const struct control_snapshot *before,
                        struct err *refused, struct err *e)
{
    const struct control_document *d = &s->policy_document;
    if (!s->has_policy)
        return 0;
    if (before != NULL && before->policy != NULL &&
        version_of(d) == version_of(&before->policy_document)) {
        s->policy = access_policy_ref(before->policy);
        return 0;
    }
    struct json_reader *reader = json_reader_new(2 * LIMIT_CONTROL_BYTES);
    if (reader == NULL)
        return err_set(e, -ENOMEM, "control: out of memory");
    /* Not strict: policy.strict is about what is put, and must not turn away what was put before.
     */
    int rc = access_policy_parse(reader, d->text, false, version_of(d), &s->policy, refused);
    json_reader_free(reader);
    if (rc == -ENOMEM) {
        *e = *refused;
        refused->code = 0;
        return rc;
    }
    return 0;
}

int control_snapshot_load(struct control_snapshot **out, struct store *store,
                          const struct control_snapshot *before, struct err *refused, struct err *e)
{
    struct control_snapshot *s = calloc(1, sizeof(*s));
    refused->code = 0;
    if (s == NULL)
        return err_set(e, -ENOMEM, "control: out of memory");
    s->magic = SNAPSHOT_MAGIC;
    atomic_init(&s->refs, 1);
    buf_init(&s->text, SIZE_MAX);
    struct loader l = {.s = s, .e = e};
    int rc = store_control_each(store, load_one, &l, e);
    rc = rc != 0 ? rc : l.rc;
    if (rc == 0) {
        if (s->has_policy)
            settle_document(s, &s->policy_document);
        for (uint32_t i = 0; i < s->pipe_count; i++)
            settle_document(s, &s->pipes[i]);
        rc = parse_policy(s, before, refused, e);
    }
    if (rc != 0) {
        control_snapshot_unref(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* ---- what is doubtful ---- */

static void warn_line(void *arg, const char *text)
{
    uint32_t *count = arg;
    if ((*count)++ < WARNINGS_MAX)
        log_warn("policy.warning", "%s", text);
}

void control_snapshot_warn(const struct control_snapshot *s)
{
    uint32_t count = 0;
    if (s->policy != NULL)
        (void)access_policy_warn(s->policy, NULL, warn_line, &count);
    if (count > WARNINGS_MAX)
        log_warn("policy.warning", "and %" PRIu32 " more", count - WARNINGS_MAX);
}
