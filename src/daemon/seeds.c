/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/seeds.h"

#include "base/limits.h"
#include "base/log.h"
#include "config/yaml_json.h"
#include "io/clock.h"
#include "query/pipe.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PATH_CAP 4096

struct seed {
    struct control_task task;
    struct seeds *owner;
    struct buf name, text, who; /* what the task borrows */
    bool asked;
};

struct seeds {
    struct queue *done;
    struct seed *list;
    uint32_t count, cap, on_the_way;
};

__attribute__((format(printf, 2, 3))) static int finding(struct buf *findings, const char *fmt, ...)
{
    char text[WH_ERR_TEXT_CAP + PATH_CAP];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_put_str(findings, text);
    buf_put_u8(findings, '\n');
    return WH_ESYNTAX;
}

static void seed_fini(struct seed *s)
{
    buf_fini(&s->name);
    buf_fini(&s->text);
    buf_fini(&s->who);
}

/* The next free one, or NULL. */
static struct seed *seed_add(struct seeds *s, enum control_kind kind, const char *file)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? 8 : 2 * s->cap;
        struct seed *list = realloc(s->list, cap * sizeof(*list));
        if (list == NULL)
            return NULL;
        s->list = list;
        s->cap = cap;
    }
    struct seed *seed = &s->list[s->count++];
    memset(seed, 0, sizeof(*seed));
    seed->owner = s;
    seed->task.kind = kind;
    seed->task.seed = true;
    buf_init(&seed->name, SIZE_MAX);
    buf_init(&seed->text, SIZE_MAX);
    buf_init(&seed->who, SIZE_MAX);
    buf_put_str(&seed->who, file);
    return seed;
}

/* The whole file, followed by room for the JSON reader. */
static int read_file(const char *key, const char *file, size_t max, struct buf *out,
                     struct buf *findings)
{
    FILE *f = fopen(file, "re");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        int code = f == NULL || S_ISREG(st.st_mode) ? errno : EINVAL;
        if (f != NULL)
            (void)fclose(f);
        return finding(findings, "%s: cannot be read: %s (%s)", file, strerror(code), key);
    }
    char *room = buf_extend(out, max + 1 + LIMIT_JSON_PADDING);
    size_t n = room != NULL ? fread(room, 1, max + 1, f) : 0;
    int error = room == NULL ? ENOMEM : ferror(f) ? EIO : 0;
    (void)fclose(f);
    out->len = n;
    if (error != 0)
        return finding(findings, "%s: cannot be read: %s (%s)", file, strerror(error), key);
    if (n > max)
        return finding(findings, "%s: is over %zu bytes (%s)", file, max, key);
    return 0;
}

static int read_policy(struct seeds *s, const struct config *c, struct json_reader *reader,
                       struct buf *findings)
{
    const char *file = c->policy.file_path;
    struct seed *seed = seed_add(s, CONTROL_POLICY, file);
    struct access_policy *p = NULL;
    struct buf raw;
    struct err e = {0};
    if (seed == NULL)
        return finding(findings, "%s: out of memory", file);
    buf_init(&raw, SIZE_MAX);
    int rc = read_file("policy.file_path", file, LIMIT_POLICY_BYTES, &raw, findings);
    if (rc == 0 && config_is_yaml(file, buf_slice(&raw))) {
        rc = config_yaml_to_json(buf_slice(&raw), LIMIT_POLICY_BYTES, &seed->text, &e);
        if (rc != 0)
            (void)finding(findings, "%s:%s (policy.file_path)", file, e.text);
    } else if (rc == 0) {
        buf_put_slice(&seed->text, buf_slice(&raw));
    }
    buf_fini(&raw);
    if (rc != 0)
        return rc;
    rc = access_policy_parse(reader, buf_slice(&seed->text), c->policy.strict, 0, &p, &e);
    access_policy_unref(p);
    return rc == 0 ? 0 : finding(findings, "%s: %s (policy.file_path)", file, e.text);
}

/* The file's SQL as a definition in seed->text, if it is a good one. */
static int define_pipe(struct seed *seed, struct slice sql, const struct config *c,
                       struct json_reader *reader, struct err *e)
{
    struct query_pipe *p = NULL;
    unsigned flags = c->pipes.strict ? QUERY_PIPE_STRICT_QUOTES : 0;
    int rc = control_pipe_name(buf_slice(&seed->name), e);
    if (rc != 0)
        return rc;
    query_pipe_put_seed(&seed->text, buf_slice(&seed->name), sql);
    size_t len = seed->text.len;
    if (buf_extend(&seed->text, LIMIT_JSON_PADDING) == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    seed->text.len = len;
    rc = query_pipe_parse(reader, buf_slice(&seed->name), buf_slice(&seed->text), flags, &p, e);
    query_pipe_unref(p);
    return rc;
}

static int read_pipe(struct seeds *s, const struct config *c, struct json_reader *reader,
                     const char *file, struct buf *findings)
{
    char path[PATH_CAP];
    const char *dir = c->pipes.dir;
    struct slice name = {file, strlen(file) - strlen(".sql")};
    struct buf sql;
    struct err e = {0};
    int n = snprintf(path, sizeof(path), "%s/%s", dir, file);
    if (n < 0 || (size_t)n >= sizeof(path))
        return finding(findings, "%s/%s: the path is too long (pipes.dir)", dir, file);
    struct seed *seed = seed_add(s, CONTROL_PIPE, path);
    if (seed == NULL)
        return finding(findings, "%s: out of memory", path);
    buf_put_slice(&seed->name, name);
    buf_init(&sql, SIZE_MAX);
    int rc = read_file("pipes.dir", path, LIMIT_OPS_BODY_BYTES, &sql, findings);
    if (rc == 0) {
        struct slice text = buf_slice(&sql);
        while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
            text.len--;
        rc = define_pipe(seed, text, c, reader, &e);
        if (rc != 0)
            (void)finding(findings, "%s: %s (pipes.dir)", path, e.text);
    }
    buf_fini(&sql);
    return rc;
}

static int is_sql(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && d->d_name[0] != '.' && strcmp(d->d_name + n - 4, ".sql") == 0;
}

static int read_pipes(struct seeds *s, const struct config *c, struct json_reader *reader,
                      struct buf *findings)
{
    const char *dir = c->pipes.dir;
    struct dirent **files = NULL;
    int rc = 0, n = scandir(dir, &files, is_sql, alphasort);
    if (n < 0)
        return finding(findings, "%s: cannot be read: %s (pipes.dir)", dir, strerror(errno));
    if (n > LIMIT_PIPES)
        rc = finding(findings, "%s: has more than %d files *.sql (pipes.dir)", dir, LIMIT_PIPES);
    for (int i = 0; i < n; i++) {
        if (n <= LIMIT_PIPES && read_pipe(s, c, reader, files[i]->d_name, findings) != 0)
            rc = WH_ESYNTAX; /* and the others, so that all findings are told at once */
        free(files[i]);
    }
    free(files);
    return rc;
}

int seeds_read(struct seeds **out, const struct config *c, struct queue *done, struct buf *findings)
{
    *out = NULL;
    if (c->policy.file_path[0] == '\0' && c->pipes.dir[0] == '\0')
        return 0;
    struct seeds *s = calloc(1, sizeof(*s));
    struct json_reader *reader = json_reader_new(8 * LIMIT_POLICY_BYTES);
    if (s == NULL || reader == NULL) {
        free(s);
        json_reader_free(reader);
        return finding(findings, "out of memory for policy.file_path and pipes.dir");
    }
    int rc = 0, pipes = 0;
    s->done = done;
    if (c->policy.file_path[0] != '\0')
        rc = read_policy(s, c, reader, findings);
    if (c->pipes.dir[0] != '\0')
        pipes = read_pipes(s, c, reader, findings);
    json_reader_free(reader);
    rc = rc != 0 ? rc : pipes;
    if (rc != 0) {
        seeds_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

bool seeds_done(struct seeds *s)
{
    struct queue_link *link;
    if (s == NULL)
        return true;
    while ((link = queue_pop(s->done)) != NULL)
        QUEUE_ITEM(QUEUE_ITEM(link, struct control_task, link), struct seed, task)
            ->owner->on_the_way--;
    return s->on_the_way == 0;
}

static bool is_there(const struct control_snapshot *now, const struct seed *seed)
{
    return seed->task.kind == CONTROL_POLICY
               ? control_snapshot_policy_document(now) != NULL
               : control_snapshot_pipe(now, buf_slice(&seed->name)) != NULL;
}

static int ask_all(struct seeds *s, struct control *control, struct err *e)
{
    struct control_snapshot *now = control_current(control);
    int rc = 0;
    for (uint32_t i = 0; i < s->count && rc == 0; i++) {
        struct seed *seed = &s->list[i];
        if (is_there(now, seed))
            continue;
        seed->task.done = s->done;
        seed->task.name = buf_slice(&seed->name);
        seed->task.text = buf_slice(&seed->text);
        seed->task.who = buf_slice(&seed->who);
        rc = buf_ok(&seed->name) && buf_ok(&seed->text) && buf_ok(&seed->who)
                 ? control_ask(control, &seed->task)
                 : -ENOMEM;
        seed->asked = rc == 0;
        s->on_the_way += seed->asked;
        if (rc != 0)
            (void)err_set(e, rc, "%.*s cannot be stored: %s", SLICE_ARG(buf_slice(&seed->who)),
                          err_text(rc));
    }
    control_snapshot_unref(now);
    return rc;
}

int seeds_plant(struct seeds *s, struct control *control, uint64_t timeout_ms, struct err *e)
{
    int rc = ask_all(s, control, e);
    uint64_t until = io_monotonic_ns() + timeout_ms * UINT64_C(1000000);
    while (!seeds_done(s)) {
        uint64_t now = io_monotonic_ns();
        if (now >= until) {
            log_warn("control.seeds_late",
                     "%" PRIu32 " files of policy.file_path and pipes.dir are in the log, and in "
                     "force once it has been read and stored",
                     s->on_the_way);
            return rc;
        }
        if (!queue_sleep(s->done))
            continue;
        struct pollfd fd = {.fd = queue_fd(s->done), .events = POLLIN};
        (void)poll(&fd, 1, (int)((until - now) / 1000000 + 1));
        queue_wake_ack(s->done);
    }
    for (uint32_t i = 0; i < s->count && rc == 0; i++)
        if (s->list[i].asked && s->list[i].task.result != 0) {
            rc = s->list[i].task.result;
            (void)err_set(e, rc, "%.*s cannot be stored: %s", SLICE_ARG(buf_slice(&s->list[i].who)),
                          rc == WH_ELIMIT ? "too many pipes, or documents too large together"
                                          : err_text(rc));
        }
    return rc;
}

void seeds_free(struct seeds *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        seed_fini(&s->list[i]);
    free(s->list);
    free(s);
}
