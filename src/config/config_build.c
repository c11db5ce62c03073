/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot while it is being filled: values in, findings out; and the variables of the
 * environment. */
#include "base/limits.h"
#include "config/config_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The same source goes on under another name: every variable is a place of its own. */
static void rename_source(struct config_builder *b, const char *name)
{
    struct slice copy = arena_dup(&b->snap->arena, slice_str(name));
    if (copy.ptr == NULL)
        b->out_of_memory = true;
    b->source = copy.ptr != NULL ? copy.ptr : "";
}

void config_build_source(struct config_builder *b, const char *name)
{
    rename_source(b, name);
    memset(b->seen, 0, sizeof(b->seen));
}

bool config_build_full(const struct config_builder *b)
{
    return b->out_of_memory || b->finding_count >= CONFIG_FINDINGS_MAX;
}

static void put_where(struct buf *out, const char *name, uint32_t line, uint32_t column)
{
    buf_put_str(out, name);
    if (line > 0)
        buf_printf(out, ":%" PRIu32 ":%" PRIu32, line, column);
    buf_put_str(out, ": ");
}

/* A finding is one line whatever the file had in it: control characters become '?'. */
static void put_clean(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++)
        buf_put_u8(out, (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : (uint8_t)*text);
}

__attribute__((format(printf, 5, 0))) static void finding_at(struct config_builder *b,
                                                             const char *name, uint32_t line,
                                                             uint32_t column, const char *fmt,
                                                             va_list ap)
{
    char text[WH_ERR_TEXT_CAP * 2];
    if (b->finding_count >= CONFIG_FINDINGS_MAX)
        return;
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    put_where(b->findings, name, line, column);
    put_clean(b->findings, text);
    buf_put_str(b->findings, "\n");
    if (++b->finding_count == CONFIG_FINDINGS_MAX)
        buf_printf(b->findings, "%s: further findings are not shown\n", name);
}

void config_finding(struct config_builder *b, uint32_t line, uint32_t column, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    finding_at(b, b->source, line, column, fmt, ap);
    va_end(ap);
}

void config_build_refuse(struct config_builder *b, const struct config_item *at, struct slice name,
                         struct slice shown)
{
    uint32_t index;
    bool twin;
    char nearest[CONFIG_NAME_BYTES_MAX];
    enum config_lookup found = config_key_find(name, &index, &twin);
    if (found == CONFIG_LATER) {
        config_finding(b, at->line, at->column, "key \"%.*s\" is not supported by this version yet",
                       SLICE_ARG(shown));
        return;
    }
    if (found == CONFIG_SECTION) {
        config_finding(b, at->line, at->column, "\"%.*s\" is a section: name a key in it",
                       SLICE_ARG(shown));
        return;
    }
    config_key_nearest(name, nearest);
    if (nearest[0] != '\0')
        config_finding(b, at->line, at->column, "unknown key \"%.*s\", did you mean \"%s\"?",
                       SLICE_ARG(shown), nearest);
    else
        config_finding(b, at->line, at->column, "unknown key \"%.*s\"", SLICE_ARG(shown));
}

/* The value of a secret from a file: everything but one newline at its end. */
static int read_twin(struct config_builder *b, struct slice path, const char **via,
                     struct slice *out, char *why)
{
    char full[CONFIG_VALUE_BYTES_MAX * 2];
    char text[CONFIG_VALUE_BYTES_MAX + 2];
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    bool is_relative = path.len == 0 || path.ptr[0] != '/';
    if (is_relative && (credentials == NULL || path.len == 0)) {
        (void)snprintf(why, WH_ERR_TEXT_CAP,
                       "must be an absolute path (a relative one only where systemd sets "
                       "CREDENTIALS_DIRECTORY)");
        return WH_ESYNTAX;
    }
    int n = is_relative ? snprintf(full, sizeof(full), "%s/%.*s", credentials, SLICE_ARG(path))
                        : snprintf(full, sizeof(full), "%.*s", SLICE_ARG(path));
    FILE *f = n > 0 && (size_t)n < sizeof(full) ? fopen(full, "re") : NULL;
    size_t len = f != NULL ? fread(text, 1, sizeof(text), f) : 0;
    int error = f == NULL || ferror(f) ? errno : 0;
    if (f != NULL)
        (void)fclose(f);
    if (error != 0) {
        (void)snprintf(why, WH_ERR_TEXT_CAP, "cannot be read: %.256s: %s", full, strerror(error));
        return WH_ESYNTAX;
    }
    if (len > 0 && text[len - 1] == '\n')
        len--;
    *out = arena_dup(&b->snap->arena, (struct slice){text, len});
    *via = arena_dup(&b->snap->arena, slice_str(full)).ptr;
    return out->ptr == NULL || *via == NULL ? -ENOMEM : 0;
}

static bool is_repeated(struct config_builder *b, uint32_t index, struct slice name,
                        struct config_item at)
{
    struct config_item *seen = &b->seen[index];
    if (seen->text.ptr == NULL) {
        struct slice copy = arena_dup(&b->snap->arena, name);
        b->out_of_memory |= copy.ptr == NULL;
        *seen = (struct config_item){.text = copy, .line = at.line, .column = at.column};
        return false;
    }
    if (at.line > 0)
        config_finding(b, at.line, at.column, "key \"%.*s\": \"%.*s\" is already in line %" PRIu32,
                       SLICE_ARG(name), SLICE_ARG(seen->text), seen->line);
    else
        config_finding(b, 0, 0, "key \"%.*s\": \"%.*s\" is already given", SLICE_ARG(name),
                       SLICE_ARG(seen->text));
    return true;
}

/* What the user wrote, for a finding; not of a secret, and not endlessly. */
static void show_value(const struct config_key *key, const struct config_item *item, char *out,
                       size_t cap)
{
    if (key->secret || item->text.len > 80)
        out[0] = '\0';
    else
        (void)snprintf(out, cap, "\"%.*s\" ", SLICE_ARG(item->text));
}

/* items were not taken for key: say why. */
static void set_failed(struct config_builder *b, const struct config_key *key, struct slice name,
                       const struct config_item *culprit, const struct config_item *value,
                       const char *why)
{
    char shown[128] = "";
    if (value != NULL)
        show_value(key, value, shown, sizeof(shown));
    config_finding(b, culprit->line, culprit->column, "%.*s: %s%s", SLICE_ARG(name), shown, why);
}

/* A member of a map's entry. */
static void set_member(struct config_builder *b, struct slice name,
                       const struct config_place *place, struct config_item at,
                       const struct config_item *items, uint32_t count, bool is_list)
{
    const struct config_key *key = &config_maps[place->map].members[place->member];
    char why[WH_ERR_TEXT_CAP];
    uint32_t bad;
    if (place->entry.len > CONFIG_ENTRY_NAME_BYTES_MAX) {
        config_finding(b, at.line, at.column, "%.*s: the name is longer than %d bytes",
                       SLICE_ARG(name), CONFIG_ENTRY_NAME_BYTES_MAX);
        return;
    }
    void *entry = config_map_entry(b->snap, place->map, place->entry);
    if (entry == NULL) {
        if (b->snap->maps[place->map].count >= CONFIG_ENTRIES_MAX)
            config_finding(b, at.line, at.column, "%.*s: more than %d names have settings",
                           SLICE_ARG(name), CONFIG_ENTRIES_MAX);
        else
            b->out_of_memory = true;
        return;
    }
    struct config_origin *origin = &config_map_origin(b->snap, place->map, entry)[place->member];
    if (origin->name == b->source) { /* the same copy of the name: given by this very source */
        if (at.line > 0)
            config_finding(b, at.line, at.column,
                           "key \"%.*s\": \"%.*s\" is already in line %" PRIu32, SLICE_ARG(name),
                           SLICE_ARG(name), origin->line);
        else
            config_finding(b, 0, 0, "key \"%.*s\": \"%.*s\" is already given", SLICE_ARG(name),
                           SLICE_ARG(name));
        return;
    }
    int rc = config_value_set(&b->snap->arena, entry, key, items, count, is_list, why, &bad);
    if (rc == -ENOMEM)
        b->out_of_memory = true;
    else if (rc != 0)
        set_failed(b, key, name, bad < count ? &items[bad] : &at, bad < count ? &items[bad] : NULL,
                   why);
    else
        *origin = (struct config_origin){.name = b->source, .line = at.line, .column = at.column};
}

void config_build_set(struct config_builder *b, struct slice name, struct config_item at,
                      const struct config_item *items, uint32_t count, bool is_list)
{
    uint32_t index = 0, bad = 0;
    bool twin = false;
    char why[WH_ERR_TEXT_CAP];
    struct config_place place;
    struct config_item secret;
    const char *via = NULL;
    int rc = 0;
    if (config_build_full(b))
        return;
    enum config_lookup found = config_key_find(name, &index, &twin);
    if (found == CONFIG_MEMBER && config_map_find(name, &place)) {
        set_member(b, name, &place, at, items, count, is_list);
        return;
    }
    if (found != CONFIG_KEY) {
        config_build_refuse(b, &at, name, name);
        return;
    }
    const struct config_key *key = &config_key_table[index];
    if (is_repeated(b, index, name, at))
        return;
    if (twin && !is_list && count == 1) {
        secret = items[0];
        rc = read_twin(b, items[0].text, &via, &secret.text, why);
        items = &secret;
    }
    if (rc == 0)
        rc =
            config_value_set(&b->snap->arena, &b->snap->pub, key, items, count, is_list, why, &bad);
    if (rc == -ENOMEM) {
        b->out_of_memory = true;
    } else if (rc != 0) {
        set_failed(b, key, name, bad < count ? &items[bad] : &at, bad < count ? &items[bad] : NULL,
                   why);
    } else {
        b->snap->origin[index] = (struct config_origin){.name = b->source,
                                                        .line = at.line,
                                                        .column = at.column,
                                                        .via = via};
    }
}

/* ---- environment ---- */

/* Turn the text of a variable or flag into items: lists are separated by commas there. Over
 * CONFIG_ITEMS_MAX the count alone goes on. */
static uint32_t split(const struct config_key *key, struct slice text, struct config_item *items)
{
    uint32_t count = 0;
    if (key->type != CONFIG_TEXTS && key->type != CONFIG_ENDPOINTS) {
        items[0] = (struct config_item){.text = text};
        return 1;
    }
    while (text.len > 0) {
        const char *comma = memchr(text.ptr, ',', text.len);
        size_t n = comma != NULL ? (size_t)(comma - text.ptr) : text.len;
        struct slice one = {text.ptr, n};
        while (one.len > 0 && one.ptr[0] == ' ')
            one = (struct slice){one.ptr + 1, one.len - 1};
        while (one.len > 0 && one.ptr[one.len - 1] == ' ')
            one.len--;
        if (count < CONFIG_ITEMS_MAX)
            items[count] = (struct config_item){.text = one};
        count++;
        n += comma != NULL;
        text = (struct slice){text.ptr + n, text.len - n};
    }
    return count;
}

void config_build_set_text(struct config_builder *b, struct slice name, struct slice value)
{
    struct config_item items[CONFIG_ITEMS_MAX], nowhere = {.line = 0};
    uint32_t index;
    bool twin;
    struct config_place place;
    enum config_lookup found = config_key_find(name, &index, &twin);
    if (found != CONFIG_KEY && !(found == CONFIG_MEMBER && config_map_find(name, &place))) {
        config_build_refuse(b, &nowhere, name, name);
        return;
    }
    const struct config_key *key = found == CONFIG_KEY
                                       ? &config_key_table[index]
                                       : &config_maps[place.map].members[place.member];
    uint32_t count = split(key, value, items);
    config_build_set(b, name, nowhere, items, count,
                     key->type == CONFIG_TEXTS || key->type == CONFIG_ENDPOINTS);
}

/* Is variable `name` meant for the configuration? Scripts use WH_ variables of their own, so only
 * those are judged that begin with the name of a section, or are a slip away from the name of a
 * key, which is then in `nearest`. */
static bool is_judged(struct slice name, char *nearest)
{
    char key[CONFIG_NAME_BYTES_MAX], env[CONFIG_NAME_BYTES_MAX + 4];
    uint32_t best = 3;
    bool judged = false;
    nearest[0] = '\0';
    for (uint32_t i = 0; config_key_any_name(i, key); i++) {
        config_key_env_name(slice_str(key), env, sizeof(env));
        const char *dot = strchr(key, '.');
        size_t section = dot != NULL ? (size_t)(dot - key) + strlen("WH_") : 0;
        judged |= section > 0 && name.len > section && memcmp(name.ptr, env, section) == 0 &&
                  name.ptr[section] == '_';
        uint32_t d = config_distance(name, slice_str(env));
        if (d < best && strlen(env) >= 10 &&
            (uint64_t)d * 5 <= name.len) { /* WH_PATH is not WH_AUTH */
            best = d;
            memcpy(nearest, env, strlen(env) + 1);
        }
    }
    return judged || nearest[0] != '\0';
}

static void feed_variable(struct config_builder *b, struct slice name, struct slice value)
{
    char key[CONFIG_NAME_BYTES_MAX], env[CONFIG_NAME_BYTES_MAX + 4], source[CONFIG_NAME_BYTES_MAX];
    (void)snprintf(source, sizeof(source), "%.*s", SLICE_ARG(name));
    for (uint32_t i = 0; config_key_any_name(i, key); i++) {
        config_key_env_name(slice_str(key), env, sizeof(env));
        size_t len = strlen(env);
        uint32_t index;
        bool twin;
        bool later = config_key_find(slice_str(key), &index, &twin) == CONFIG_LATER;
        /* WH_CACHE is not a key of the section cache: leave it to the scripts */
        bool exact = slice_eq_str(name, env) && (!later || strchr(key, '.') != NULL);
        bool below =
            later && name.len > len && memcmp(name.ptr, env, len) == 0 && name.ptr[len] == '_';
        if (!exact && !below)
            continue;
        rename_source(b, source);
        config_build_set_text(b, slice_str(key), value);
        return;
    }
    if (!is_judged(name, env))
        return;
    rename_source(b, source);
    if (env[0] != '\0')
        config_finding(b, 0, 0, "unknown variable, did you mean %s?", env);
    else
        config_finding(b, 0, 0, "unknown variable: no key of the configuration has this name");
}

void config_env_feed(struct config_builder *b, char *const *env)
{
    config_build_source(b, "environment");
    for (; *env != NULL && !config_build_full(b); env++) {
        const char *eq = strchr(*env, '=');
        if (strncmp(*env, "WH_", 3) != 0 || eq == NULL)
            continue;
        feed_variable(b, (struct slice){*env, (size_t)(eq - *env)}, slice_str(eq + 1));
    }
}

/* ---- rules over several keys ---- */

static uint32_t index_of(const char *name)
{
    uint32_t index = 0;
    bool twin;
    (void)config_key_find(slice_str(name), &index, &twin); /* a name of the table: found */
    return index;
}

/* At whichever of the two was written; the second when both were. */
__attribute__((format(printf, 4, 5))) static void
rule_broken(struct config_builder *b, const char *first, const char *second, const char *fmt, ...)
{
    const struct config_origin *o = &b->snap->origin[index_of(second)];
    va_list ap;
    if (o->name == NULL)
        o = &b->snap->origin[index_of(first)];
    va_start(ap, fmt);
    finding_at(b, o->name != NULL ? o->name : "defaults", o->line, o->column, fmt, ap);
    va_end(ap);
}

void config_build_resolve(struct config_builder *b)
{
    struct config *c = &b->snap->pub;
    if (b->snap->origin[index_of("clickhouse.http_scheme")].name == NULL)
        c->clickhouse.http_scheme = c->clickhouse.tls.enabled ? "https" : "http";
}

static void check_clickhouse_tls(struct config_builder *b)
{
    const struct config *c = &b->snap->pub;
    bool enabled = c->clickhouse.tls.enabled,
         https = strcmp(c->clickhouse.http_scheme, "https") == 0;
    if (enabled && !https)
        rule_broken(b, "clickhouse.tls.enabled", "clickhouse.http_scheme",
                    "clickhouse.http_scheme: http contradicts clickhouse.tls.enabled, for queries "
                    "would carry the password in the clear: leave it out");
    if (!enabled && https)
        rule_broken(b, "clickhouse.tls.enabled", "clickhouse.http_scheme",
                    "clickhouse.http_scheme: https needs clickhouse.tls.enabled: true, which is "
                    "for the native port too");
    if (!enabled && *c->clickhouse.tls.ca != '\0')
        rule_broken(b, "clickhouse.tls.enabled", "clickhouse.tls.ca",
                    "clickhouse.tls.ca has no meaning without clickhouse.tls.enabled: true");
    if (!enabled && c->clickhouse.tls.insecure_skip_verify)
        rule_broken(b, "clickhouse.tls.enabled", "clickhouse.tls.insecure_skip_verify",
                    "clickhouse.tls.insecure_skip_verify has no meaning without "
                    "clickhouse.tls.enabled: true");
    if (enabled && c->clickhouse.embedded)
        rule_broken(
            b, "clickhouse.embedded", "clickhouse.tls.enabled",
            "clickhouse.tls.enabled: the engine of clickhouse.embedded speaks no TLS; it is "
            "reached on this machine only");
}

void config_build_check(struct config_builder *b)
{
    const struct config *c = &b->snap->pub;
    if (c->flush.retry_min_ms > c->flush.retry_max_ms)
        rule_broken(b, "flush.retry_min", "flush.retry_max",
                    "flush.retry_max is below flush.retry_min");
    if (c->wal.segment_size % LIMIT_WAL_BLOCK != 0)
        rule_broken(b, "wal.segment_size", "wal.segment_size",
                    "wal.segment_size must be a multiple of 4KiB");
    /* one being written, one prepared, one being flushed, one that waits for its age */
    if (c->wal.max_bytes != 0 && c->wal.max_bytes / 4 < c->wal.segment_size)
        rule_broken(b, "wal.segment_size", "wal.max_bytes",
                    "wal.max_bytes must hold at least four times wal.segment_size");
    /* the engine serves loopback only; another address would be another ClickHouse */
    if (c->clickhouse.embedded &&
        (c->clickhouse.addr_count != 1 || strcmp(c->clickhouse.addr[0].host, "127.0.0.1") != 0))
        rule_broken(b, "clickhouse.embedded", "clickhouse.addr",
                    "clickhouse.addr must be 127.0.0.1 and a port with clickhouse.embedded, which "
                    "serves that address only");
    check_clickhouse_tls(b);
    bool cert = *c->server.tls.cert != '\0', key = *c->server.tls.key != '\0';
    if (cert != key)
        rule_broken(b, "server.tls.cert", "server.tls.key",
                    "server.tls.cert and server.tls.key belong together: name both or none");
    if (!cert && *c->server.tls.client_ca != '\0')
        rule_broken(b, "server.tls.cert", "server.tls.client_ca",
                    "server.tls.client_ca has no meaning without server.tls.cert and .key");
    for (uint32_t i = 0; i < c->cors.allowed_origin_count; i++)
        if (strcmp(c->cors.allowed_origins[i], "*") == 0 && c->cors.allowed_origin_count > 1)
            rule_broken(b, "cors.allowed_origins", "cors.allowed_origins",
                        "cors.allowed_origins: \"*\" allows any origin and stands alone");
}
