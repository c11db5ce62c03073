/* SPDX-License-Identifier: Apache-2.0 */
/* Loading, counting, printing and comparing snapshots. */
#include "config/config.h"

#include "base/magic.h"
#include "config/config_priv.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Static_assert(offsetof(struct config_snapshot, pub) == 0, "pub is the snapshot's address");

static struct config_snapshot *snapshot_of(const struct config *c)
{
    struct config_snapshot *s = (struct config_snapshot *)(uintptr_t)c;
    CHECK_MAGIC(s, CONFIG_MAGIC);
    return s;
}

static struct config_snapshot *snapshot_new(void)
{
    struct config_snapshot *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->magic = CONFIG_MAGIC;
    atomic_init(&s->refs, 1);
    arena_init(&s->arena, 4096, CONFIG_ARENA_BYTES_MAX);
    return s;
}

const struct config *config_ref(const struct config *c)
{
    uint32_t before = atomic_fetch_add_explicit(&snapshot_of(c)->refs, 1, memory_order_relaxed);
    must(before > 0 && before < UINT32_MAX);
    return c;
}

void config_unref(const struct config *c)
{
    if (c == NULL)
        return;
    struct config_snapshot *s = snapshot_of(c);
    uint32_t before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    must(before > 0);
    if (before > 1)
        return;
    s->magic = 0;
    config_map_free(s);
    arena_fini(&s->arena);
    free(s);
}

/* ---- loading ---- */

static void set_defaults(struct config_builder *b)
{
    config_build_source(b, "built in");
    for (uint32_t i = 0; i < config_key_count(); i++) {
        const struct config_key *k = &config_key_table[i];
        const char *text = k->initial != NULL ? k->initial : k->info.default_text;
        config_build_set_text(b, slice_str(k->info.name), slice_str(text));
    }
    /* a default that its own rules refuse is a mistake in the table */
    must(b->out_of_memory || b->finding_count == 0);
    memset(b->snap->origin, 0, sizeof(b->snap->origin));
}

static void feed_file(struct config_builder *b, const char *path)
{
    config_build_source(b, path);
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    FILE *f = text != NULL ? fopen(path, "re") : NULL;
    b->out_of_memory |= text == NULL;
    if (f == NULL) {
        if (text != NULL)
            config_finding(b, 0, 0, "cannot be opened: %s", strerror(errno));
        free(text);
        return;
    }
    size_t len = fread(text, 1, CONFIG_FILE_BYTES_MAX + 1, f);
    if (ferror(f))
        config_finding(b, 0, 0, "cannot be read: %s", strerror(errno));
    else if (len > CONFIG_FILE_BYTES_MAX)
        config_finding(b, 0, 0, "is larger than %zu KiB", CONFIG_FILE_BYTES_MAX >> 10);
    else
        config_yaml_feed(b, (struct slice){text, len});
    (void)fclose(f);
    free(text);
}

static int is_yaml(const struct dirent *d)
{
    size_t len = strlen(d->d_name);
    return d->d_name[0] != '.' && len > 5 && strcmp(d->d_name + len - 5, ".yaml") == 0;
}

/* By bytes, not by locale: the order of files must not depend on who starts the daemon. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* conf.d beside the file. */
static void feed_folder(struct config_builder *b, const char *file)
{
    char folder[CONFIG_VALUE_BYTES_MAX], path[CONFIG_VALUE_BYTES_MAX + NAME_MAX + 2];
    struct dirent **list;
    const char *slash = strrchr(file, '/');
    int n = slash != NULL
                ? snprintf(folder, sizeof(folder), "%.*s/conf.d", (int)(slash - file), file)
                : snprintf(folder, sizeof(folder), "conf.d");
    if (n < 0 || (size_t)n >= sizeof(folder))
        return; /* the file itself could not be opened under such a name */
    int count = scandir(folder, &list, is_yaml, by_name);
    if (count < 0) {
        int error = errno;
        config_build_source(b, folder);
        if (error == ENOMEM)
            b->out_of_memory = true;
        else if (error != ENOENT)
            config_finding(b, 0, 0, "cannot be listed: %s", strerror(error));
        return;
    }
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
        if (i < CONFIG_FILES_MAX) {
            feed_file(b, path);
        } else if (i == CONFIG_FILES_MAX) {
            config_build_source(b, folder);
            config_finding(b, 0, 0, "holds more than %d files", CONFIG_FILES_MAX);
        }
        free(list[i]);
    }
    free(list);
}

static void feed_sets(struct config_builder *b, const struct config_options *options)
{
    for (uint32_t i = 0; i < options->set_count; i++) {
        struct slice set = slice_str(options->sets[i]);
        const char *eq = memchr(set.ptr, '=', set.len);
        config_build_source(b, "--set");
        if (eq == NULL || eq == set.ptr) {
            /* the text may be a secret with its name forgotten: not shown */
            config_finding(b, 0, 0, "takes key=value, such as server.port=8080");
            continue;
        }
        config_build_set_text(b, (struct slice){set.ptr, (size_t)(eq - set.ptr)},
                              slice_str(eq + 1));
    }
}

/* Cores that this process may use, not those of the machine: containers and cpusets count. */
static uint32_t default_threads(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 2;
    return cores > 1 ? (uint32_t)cores - 1 : 1;
}

static struct config_builder *builder_new(struct buf *findings)
{
    struct config_builder *b = calloc(1, sizeof(*b));
    struct config_snapshot *s = snapshot_new();
    if (b == NULL || s == NULL) {
        buf_put_str(findings, "configuration: out of memory\n");
        free(b);
        free(s);
        return NULL;
    }
    *b = (struct config_builder){.snap = s, .findings = findings, .source = ""};
    set_defaults(b);
    return b;
}

/* The snapshot, or NULL when anything was found. The builder is gone. */
static struct config *builder_finish(struct config_builder *b)
{
    struct config_snapshot *s = b->snap;
    config_map_settle(s);
    config_build_resolve(b);
    if (b->finding_count == 0 && !b->out_of_memory)
        config_build_check(b);
    if (b->out_of_memory)
        buf_put_str(b->findings, "configuration: out of memory\n");
    bool good = b->finding_count == 0 && !b->out_of_memory;
    free(b);
    if (s->pub.server.threads == 0)
        s->pub.server.threads = default_threads();
    if (good)
        return &s->pub;
    config_unref(&s->pub);
    return NULL;
}

const struct config *config_load(const struct config_options *options, struct buf *findings)
{
    struct config_builder *b = builder_new(findings);
    if (b == NULL)
        return NULL;
    if (options->file != NULL) {
        feed_file(b, options->file);
        feed_folder(b, options->file);
    }
    config_env_feed(b, environ);
    feed_sets(b, options);
    struct config *c = builder_finish(b);
    if (c != NULL)
        c->insecure_open = options->insecure_open;
    return c;
}

const struct config *config_load_text(struct slice yaml, struct buf *findings)
{
    struct config_builder *b = builder_new(findings);
    if (b == NULL)
        return NULL;
    config_build_source(b, "text");
    config_yaml_feed(b, yaml);
    return builder_finish(b);
}

/* ---- printing ---- */

void config_put_origin(const struct config_origin *o, struct buf *out)
{
    if (o->name == NULL)
        buf_put_str(out, "built in");
    else
        buf_put_str(out, o->name);
    if (o->line > 0)
        buf_printf(out, ":%" PRIu32, o->line);
    if (o->via != NULL)
        buf_printf(out, ", contents of %s", o->via);
}

static bool is_set_secret(const struct config *c, const struct config_key *key)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    config_value_format(c, key, &b);
    bool is_set = key->secret && !slice_eq_str(buf_slice(&b), "\"\"");
    buf_fini(&b);
    return is_set;
}

/* A default of 0 that stands for a rule. */
static bool is_rule(const struct config *c, const struct config_key *key)
{
    if (!key->zero_ok || key->type != CONFIG_SIZE)
        return false;
    uint64_t v;
    memcpy(&v, (const char *)c + key->offset, sizeof(v));
    return v == 0;
}

/* The first part of a dotted name, which then begins behind it; empty when it is the last. */
static struct slice take_section(const char **name)
{
    const char *dot = strchr(*name, '.');
    if (dot == NULL)
        return (struct slice){NULL, 0};
    struct slice section = {*name, (size_t)(dot - *name)};
    *name = dot + 1;
    return section;
}

void config_print(const struct config *c, struct buf *out)
{
    const struct config_snapshot *s = snapshot_of(c);
    struct slice section = {NULL, 0}, part = {NULL, 0};
    for (uint32_t i = 0; i < config_key_count(); i++) {
        const struct config_key *key = &config_key_table[i];
        const char *leaf = key->info.name;
        struct slice here = take_section(&leaf), inner = take_section(&leaf);
        bool hidden = is_set_secret(c, key);
        if (!slice_eq(here, section)) {
            config_map_print(s, section, out);
            if (here.len > 0)
                buf_printf(out, "%.*s:\n", SLICE_ARG(here));
        }
        if (inner.len > 0 && (!slice_eq(here, section) || !slice_eq(inner, part)))
            buf_printf(out, "  %.*s:\n", SLICE_ARG(inner));
        section = here;
        part = inner;
        buf_printf(out, "%s%s%s%s: ", here.len > 0 ? "  " : "", inner.len > 0 ? "  " : "",
                   hidden ? "# " : "", leaf);
        if (hidden)
            buf_put_str(out, "(set)");
        else
            config_value_format(c, key, out);
        buf_put_str(out, "  # ");
        config_put_origin(&s->origin[i], out);
        if (is_rule(c, key))
            buf_printf(out, ": %s", key->info.default_text);
        buf_put_str(out, "\n");
    }
    config_map_print(s, section, out);
}

/* ---- comparing ---- */

/* One line for a key that differs; false when it does not. */
static bool put_change(const struct config *now, const struct config *next,
                       const struct config_key *key, struct buf *notes)
{
    struct buf a, b;
    buf_init(&a, SIZE_MAX);
    buf_init(&b, SIZE_MAX);
    config_value_format(now, key, &a);
    config_value_format(next, key, &b);
    bool differs = !slice_eq(buf_slice(&a), buf_slice(&b));
    if (differs) {
        buf_put_str(notes, key->info.name);
        if (key->secret)
            buf_put_str(notes, ": changed");
        else
            buf_printf(notes, ": %.*s -> %.*s", SLICE_ARG(buf_slice(&a)), SLICE_ARG(buf_slice(&b)));
        if (strcmp(key->info.apply, "restart") == 0)
            buf_put_str(notes, " (restart needed)");
        buf_put_str(notes, "\n");
    }
    buf_fini(&a);
    buf_fini(&b);
    return differs;
}

void config_compare(const struct config *now, const struct config *next, struct buf *notes)
{
    for (uint32_t i = 0; i < config_key_count(); i++)
        (void)put_change(now, next, &config_key_table[i], notes);
    config_map_compare(snapshot_of(now), snapshot_of(next), notes);
}

int config_origin_copy(struct arena *arena, struct config_origin *to,
                       const struct config_origin *from)
{
    *to = *from;
    if (from->name != NULL)
        to->name = arena_dup(arena, slice_str(from->name)).ptr;
    if (from->via != NULL)
        to->via = arena_dup(arena, slice_str(from->via)).ptr;
    bool failed =
        (from->name != NULL && to->name == NULL) || (from->via != NULL && to->via == NULL);
    return failed ? -ENOMEM : 0;
}

const struct config *config_adopt(const struct config *now, const struct config *next,
                                  struct buf *notes)
{
    struct config_snapshot *s = snapshot_new();
    int rc = s != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < config_key_count(); i++) {
        const struct config_key *key = &config_key_table[i];
        const struct config *from = strcmp(key->info.apply, "restart") == 0 ? now : next;
        rc = config_value_copy(&s->arena, &s->pub, from, key);
        if (rc == 0)
            rc = config_origin_copy(&s->arena, &s->origin[i], &snapshot_of(from)->origin[i]);
    }
    if (rc == 0)
        rc = config_map_copy(s, snapshot_of(next));
    if (rc != 0) {
        buf_put_str(notes, "configuration: out of memory\n");
        config_unref(s != NULL ? &s->pub : NULL);
        return NULL;
    }
    config_map_settle(s);
    s->pub.insecure_open = now->insecure_open;
    struct config_builder b = {.snap = s, .findings = notes, .source = "reload"};
    config_build_check(&b);
    if (b.finding_count > 0) {
        config_unref(&s->pub);
        return NULL;
    }
    config_compare(now, next, notes);
    return &s->pub;
}

bool config_metrics_apart(const struct config *c)
{
    return c->prometheus.enabled && c->prometheus.port != 0 && c->prometheus.port != c->server.port;
}

bool config_listen_is_loopback(const struct config *c)
{
    for (uint32_t i = 0; i < c->server.listen_count; i++) {
        struct in_addr v4;
        struct in6_addr v6;
        const char *text = c->server.listen[i];
        if (inet_pton(AF_INET, text, &v4) == 1) {
            if (ntohl(v4.s_addr) >> 24 != IN_LOOPBACKNET)
                return false;
        } else if (inet_pton(AF_INET6, text, &v6) != 1 ||
                   !(IN6_IS_ADDR_LOOPBACK(&v6) ||
                     (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == IN_LOOPBACKNET))) {
            return false;
        }
    }
    return true;
}
