/* SPDX-License-Identifier: Apache-2.0 */
/* Who does what: askers' threads propose (control_ask), the log thread says that it is committed
 * (on_committed), the planner applies, publishes and answers (fold_…). */
#include "control/control.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "control/entry.h"
#include "control/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CONTROL_MAGIC 0x43545243u

/* A task on its way. */
struct pending {
    struct proposal proposal;
    struct control *c;
    struct control_task *task;
    struct pending *next;
    char head[CONTROL_HEAD_BYTES];
};

/* What an entry did, noted while it is applied and told once the store has it. */
enum outcome {
    OUTCOME_CHANGED,
    OUTCOME_SAME, /* removed what was not there, seeded what was */
    OUTCOME_LIMIT
};
struct note {
    uint64_t index;
    enum outcome outcome;
    enum control_kind kind;
    bool remove, seed;
    uint32_t name_len, who_len, text_len;
    char name[LIMIT_PIPE_NAME_BYTES], who[CONTROL_WHO_MAX];
};

struct control {
    uint32_t magic;
    struct store *store;
    struct commit_log *log;
    /* planner thread, or nobody's before and after it */
    struct buf notes; /* struct note each, in log order: applied, perhaps not yet in the store */
    /* all threads */
    _Atomic uint64_t version;
    pthread_mutex_t lock; /* what follows; a few pointers long */
    struct control_snapshot *current;
    uint64_t stored_index;   /* entries up to here are in the store and in force */
    struct pending *waiting; /* committed above stored_index */
    uint32_t in_flight;      /* proposed, the log thread has not answered */
    uint64_t waiting_bytes;  /* of all tasks that are not back, about */
    /* Log indexes of entries that a limit made void, for askers that learn their index late;
     * emptied when none can come. */
    struct buf void_indexes;
    struct metric *changes[2], *refused, *documents, *bytes;
};

/* ---- readers ---- */

struct control_snapshot *control_current(struct control *c)
{
    CHECK_MAGIC(c, CONTROL_MAGIC);
    (void)pthread_mutex_lock(&c->lock);
    struct control_snapshot *s = control_snapshot_ref(c->current);
    (void)pthread_mutex_unlock(&c->lock);
    return s;
}

uint64_t control_version(const struct control *c)
{
    CHECK_MAGIC(c, CONTROL_MAGIC);
    return atomic_load_explicit(&c->version, memory_order_acquire);
}

/* ---- askers ---- */

static void answer(struct control_task *task, int result)
{
    task->result = result;
    queue_push(task->done, &task->link);
}

/* What a task counts against LIMIT_CONTROL_WAITING. */
static uint64_t weight(const struct control_task *task)
{
    return sizeof(struct pending) + KIB + task->name.len + task->who.len + task->text.len;
}

static void pending_answer(struct pending *p, int result)
{
    struct control_task *task = p->task;
    struct control *c = p->c;
    task->index = result == 0 ? p->proposal.index : 0;
    free(p);
    (void)pthread_mutex_lock(&c->lock);
    c->waiting_bytes -= weight(task);
    (void)pthread_mutex_unlock(&c->lock);
    answer(task, result);
}

/* One more on its way; false: there are too many. */
static bool admit(struct control *c, const struct control_task *task)
{
    (void)pthread_mutex_lock(&c->lock);
    bool fits = c->waiting_bytes + weight(task) <= LIMIT_CONTROL_WAITING;
    if (fits) {
        c->waiting_bytes += weight(task);
        c->in_flight++;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (!fits)
        metric_add(c->refused, 1);
    return fits;
}

/* Under the lock: what became of a committed entry that the store has. */
static int result_of(const struct control *c, uint64_t index)
{
    const uint64_t *list = (const void *)c->void_indexes.ptr;
    for (size_t i = 0; i < c->void_indexes.len / sizeof(*list); i++)
        if (list[i] == index)
            return WH_ELIMIT;
    return 0;
}

/* On the log thread. */
static void on_committed(struct proposal *proposal)
{
    struct pending *p = QUEUE_ITEM(proposal, struct pending, proposal);
    struct control *c = p->c;
    int result = proposal->result;
    bool waits = false;
    (void)pthread_mutex_lock(&c->lock);
    if (result == 0 && proposal->index > c->stored_index) {
        p->next = c->waiting;
        c->waiting = p;
        waits = true;
    } else if (result == 0) { /* the planner was quicker */
        result = result_of(c, proposal->index);
    }
    if (--c->in_flight == 0 && c->waiting == NULL)
        buf_reset(&c->void_indexes);
    (void)pthread_mutex_unlock(&c->lock);
    if (!waits)
        pending_answer(p, result);
}

int control_ask(struct control *c, struct control_task *task)
{
    CHECK_MAGIC(c, CONTROL_MAGIC);
    must((task->kind == CONTROL_PIPE) == (task->name.len > 0));
    if (task->name.len > LIMIT_PIPE_NAME_BYTES || task->text.len > LIMIT_CONTROL_BYTES)
        return WH_ELIMIT;
    struct pending *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->c = c;
    p->task = task;
    struct control_change change = {.kind = task->kind,
                                    .remove = task->text.ptr == NULL,
                                    .seed = task->seed,
                                    .name = task->name,
                                    .text = task->text,
                                    .who = task->who};
    if (change.who.len > CONTROL_WHO_MAX)
        change.who.len = CONTROL_WHO_MAX;
    control_change_head(p->head, &change);
    const struct slice parts[] = {{p->head, sizeof(p->head)}, change.name, change.who, change.text};
    p->proposal.type = WAL_CONTROL;
    p->proposal.on_done = on_committed;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].len > 0)
            p->proposal.parts[p->proposal.part_count++] =
                (struct iovec){(void *)(uintptr_t)parts[i].ptr, parts[i].len};
    if (!admit(c, task)) {
        free(p);
        return WH_EFULL;
    }
    int rc = commit_propose(c->log, &p->proposal);
    if (rc != 0) {
        (void)pthread_mutex_lock(&c->lock);
        c->in_flight--;
        c->waiting_bytes -= weight(task);
        (void)pthread_mutex_unlock(&c->lock);
        free(p);
    }
    return rc;
}

/* ---- applying: planner thread ---- */

struct sum {
    uint64_t bytes;
    uint32_t pipes;
};

static bool add_up(void *ctx, struct slice key, struct slice value)
{
    struct sum *sum = ctx;
    sum->bytes += key.len + value.len;
    sum->pipes += key.ptr[0] == CONTROL_PIPE;
    return true;
}

/* Would the documents go over a limit with this one, `before` bytes of which are there (0: new)? */
static bool over_limit(struct store_txn *txn, const struct control_change *change, size_t before)
{
    struct sum sum = {0};
    store_txn_control_each(txn, add_up, &sum);
    return (change->kind == CONTROL_PIPE && before == 0 && sum.pipes >= LIMIT_PIPES) ||
           sum.bytes - before + change->text.len > LIMIT_CONTROL_BYTES_ALL;
}

static enum outcome apply_change(struct store_txn *txn, const struct control_change *change,
                                 uint64_t index, uint64_t time_ns)
{
    char room[CONTROL_KEY_CAP];
    struct slice key = control_key(room, (int)change->kind, change->name), value;
    bool there = store_txn_control_get(txn, key, &value);
    if (change->remove && !there)
        return OUTCOME_SAME;
    if (change->seed && there)
        return OUTCOME_SAME;
    if (!change->remove && over_limit(txn, change, there ? value.len : 0))
        return OUTCOME_LIMIT;
    struct control_document d = {.text = change->text,
                                 .who = change->who,
                                 .index = index,
                                 .epoch = store_txn_epoch(txn),
                                 .time_ns = time_ns};
    struct buf out;
    buf_init(&out, SIZE_MAX);
    control_value_put(&out, &d);
    size_t whole = out.len;
    if (!change->remove && buf_ok(&out))
        store_txn_control_put(txn, key, buf_slice(&out));
    else if (change->remove)
        store_txn_control_delete(txn, key);
    /* The newest change, as a document without text: also a removal moves the version. */
    buf_reset(&out);
    d.text = d.who = (struct slice){NULL, 0};
    control_value_put(&out, &d);
    if (buf_ok(&out) && whole > 0)
        store_txn_control_put(txn, control_key(room, CONTROL_NEWEST, d.text), buf_slice(&out));
    else
        store_txn_spoil(txn, -ENOMEM, "out of memory for a control document");
    buf_fini(&out);
    return OUTCOME_CHANGED;
}

static bool fold_claims(void *ctx, struct slice payload)
{
    (void)ctx;
    return control_claims(payload);
}

static void note(struct control *c, struct store_txn *txn, const struct note *n)
{
    /* A transaction that failed comes again from its first entry on. */
    const struct note *notes = (const void *)c->notes.ptr;
    size_t count = c->notes.len / sizeof(*notes);
    if (count > 0 && n->index <= notes[count - 1].index)
        buf_reset(&c->notes);
    buf_put(&c->notes, n, sizeof(*n));
    if (!buf_ok(&c->notes)) {
        buf_reset(&c->notes);
        store_txn_spoil(txn, -ENOMEM, "out of memory for a note on a control entry");
    }
}

static void fold_apply(void *ctx, struct store_txn *txn, uint64_t index, uint64_t time_ns,
                       struct slice payload)
{
    struct control *c = ctx;
    struct control_change change;
    struct err e;
    CHECK_MAGIC(c, CONTROL_MAGIC);
    if (control_change_get(payload, &change, &e) != 0) {
        log_error("control.bad_entry", "index=%" PRIu64 ": %s; the entry is skipped", index,
                  e.text);
        return;
    }
    struct note n = {.index = index,
                     .kind = change.kind,
                     .remove = change.remove,
                     .seed = change.seed,
                     .name_len = (uint32_t)change.name.len,
                     .who_len = (uint32_t)change.who.len,
                     .text_len = (uint32_t)change.text.len};
    if (change.name.len > 0)
        memcpy(n.name, change.name.ptr, change.name.len);
    if (change.who.len > 0)
        memcpy(n.who, change.who.ptr, change.who.len);
    n.outcome = apply_change(txn, &change, index, time_ns);
    note(c, txn, &n);
}

/* ---- publishing: planner thread ---- */

static void audit(struct control *c, const struct note *n)
{
    struct slice name = {n->name, n->name_len}, who = {n->who, n->who_len};
    if (n->outcome == OUTCOME_LIMIT) {
        log_warn("control.limit",
                 "kind=%s name=\"%.*s\" index=%" PRIu64 " by=%.*s: too many documents, or too "
                 "large together; not stored",
                 n->kind == CONTROL_POLICY ? "policy" : "pipe", SLICE_ARG(name), n->index,
                 SLICE_ARG(who));
        return;
    }
    if (n->outcome == OUTCOME_SAME)
        return;
    metric_add(c->changes[n->kind == CONTROL_PIPE], 1);
    const char *action = n->remove ? "removed" : n->seed ? "seeded" : "put";
    if (n->kind == CONTROL_POLICY)
        log_info("policy.changed", "action=%s index=%" PRIu64 " bytes=%" PRIu32 " by=%.*s", action,
                 n->index, n->text_len, SLICE_ARG(who));
    else
        log_info("pipe.changed",
                 "name=\"%.*s\" action=%s index=%" PRIu64 " bytes=%" PRIu32 " by=%.*s",
                 SLICE_ARG(name), action, n->index, n->text_len, SLICE_ARG(who));
}

static void show(struct control *c, const struct control_snapshot *s)
{
    uint32_t pipes;
    (void)control_snapshot_pipes(s, &pipes);
    metric_set(c->documents, (int64_t)pipes);
    metric_set(c->bytes, (int64_t)control_snapshot_bytes(s));
}

static void policy_refused(const struct control_snapshot *s, const struct err *e)
{
    const struct control_document *d = control_snapshot_policy_document(s);
    log_error("policy.refused",
              "index=%" PRIu64
              ": %s; everybody but the operator key is denied until it is replaced",
              d != NULL ? d->index : 0, e->text);
}

/* A snapshot of what the store has, in place of the current one. */
static int publish(struct control *c, uint64_t index, struct pending **answered)
{
    struct control_snapshot *next;
    struct err e = {0}, refused = {0};
    int rc = control_snapshot_load(&next, c->store, c->current, &refused, &e);
    if (rc != 0) {
        static struct log_limit limit = LOG_LIMIT(60);
        uint64_t repeated;
        if (log_limit_pass(&limit, &repeated))
            log_error("control.stale",
                      "%s; changes are durable and not in force, tried again every second; "
                      "repeated=%" PRIu64,
                      e.text, repeated);
        return rc;
    }
    if (refused.code != 0)
        policy_refused(next, &refused);
    if (control_snapshot_policy(next) != control_snapshot_policy(c->current))
        control_snapshot_warn(next);
    show(c, next);
    (void)pthread_mutex_lock(&c->lock);
    struct control_snapshot *old = c->current;
    c->current = next;
    c->stored_index = index;
    for (struct pending **at = &c->waiting; *at != NULL;) {
        struct pending *p = *at;
        if (p->proposal.index > index) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->next = *answered;
        *answered = p;
    }
    (void)pthread_mutex_unlock(&c->lock);
    atomic_store_explicit(&c->version, control_snapshot_version(next), memory_order_release);
    control_snapshot_unref(old);
    return 0;
}

/* Remember what a limit made void, before its asker can be answered. */
static bool remember_void(struct control *c)
{
    const struct note *n = (const void *)c->notes.ptr;
    bool good = true;
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->notes.len / sizeof(*n); i++)
        if (n[i].outcome == OUTCOME_LIMIT && result_of(c, n[i].index) == 0)
            buf_put(&c->void_indexes, &n[i].index, sizeof(n[i].index));
    if (!buf_ok(&c->void_indexes)) {
        c->void_indexes.failed = false;
        good = false;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return good;
}

static bool fold_stored(void *ctx, uint64_t index)
{
    struct control *c = ctx;
    struct pending *answered = NULL;
    CHECK_MAGIC(c, CONTROL_MAGIC);
    if (!remember_void(c) || publish(c, index, &answered) != 0)
        return false;
    const struct note *n = (const void *)c->notes.ptr;
    for (size_t i = 0; i < c->notes.len / sizeof(*n); i++)
        audit(c, &n[i]);
    buf_reset(&c->notes);
    while (answered != NULL) {
        struct pending *p = answered;
        answered = p->next;
        (void)pthread_mutex_lock(&c->lock);
        int result = result_of(c, p->proposal.index);
        (void)pthread_mutex_unlock(&c->lock);
        pending_answer(p, result);
    }
    (void)pthread_mutex_lock(&c->lock);
    if (c->in_flight == 0 && c->waiting == NULL)
        buf_reset(&c->void_indexes);
    (void)pthread_mutex_unlock(&c->lock);
    return true;
}

struct flush_fold control_fold(struct control *c)
{
    return (struct flush_fold){.ctx = c,
                               .claims = fold_claims,
                               .apply = fold_apply,
                               .stored = fold_stored};
}

/* ---- life ---- */

static void metrics_make(struct control *c)
{
    static const char changes[] = "wavehouse_control_changes_total";
    static const char help[] = "Changes of the policy and of pipes that took effect.";
    c->changes[0] = metric_new(METRIC_COUNTER, changes, help, "kind=\"policy\"");
    c->changes[1] = metric_new(METRIC_COUNTER, changes, help, "kind=\"pipe\"");
    c->refused = metric_new(METRIC_COUNTER, "wavehouse_control_refused_total",
                            "Changes refused because too much waited to be applied.", NULL);
    c->documents = metric_new(METRIC_GAUGE, "wavehouse_control_pipes", "Pipes stored.", NULL);
    c->bytes = metric_new(METRIC_GAUGE, "wavehouse_control_bytes",
                          "Bytes of the policy and all pipes.", NULL);
}

int control_open(struct control **out, struct store *store, struct err *e)
{
    struct control *c = calloc(1, sizeof(*c));
    struct err refused = {0};
    if (c == NULL)
        return err_set(e, -ENOMEM, "control: out of memory");
    c->magic = CONTROL_MAGIC;
    c->store = store;
    (void)pthread_mutex_init(&c->lock, NULL);
    buf_init(&c->notes, SIZE_MAX);
    buf_init(&c->void_indexes, SIZE_MAX);
    metrics_make(c);
    int rc = control_snapshot_load(&c->current, store, NULL, &refused, e);
    if (rc == 0 && refused.code != 0) {
        const struct control_document *d = control_snapshot_policy_document(c->current);
        rc = err_set(e, refused.code,
                     "this version refuses the policy that is stored (log entry %" PRIu64
                     "): %s. Start the version that stored it and put a policy without that there "
                     "(wavehousectl policy get, set), then start this one",
                     d->index, refused.text);
    }
    if (rc != 0) {
        control_free(c);
        return rc;
    }
    atomic_store(&c->version, control_snapshot_version(c->current));
    show(c, c->current);
    control_snapshot_warn(c->current);
    *out = c;
    return 0;
}

void control_start(struct control *c, struct commit_log *log)
{
    CHECK_MAGIC(c, CONTROL_MAGIC);
    c->log = log;
}

void control_stop(struct control *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CONTROL_MAGIC);
    must(c->in_flight == 0);
    while (c->waiting != NULL) {
        struct pending *p = c->waiting;
        c->waiting = p->next;
        pending_answer(p, WH_ESTOPPED);
    }
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CONTROL_MAGIC);
    control_snapshot_unref(c->current);
    buf_fini(&c->notes);
    buf_fini(&c->void_indexes);
    (void)pthread_mutex_destroy(&c->lock);
    c->magic = 0;
    free(c);
}
