/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as this daemon reads it: mappings of known sections, with scalars or lists of scalars in
 * them. The one file that uses libyaml.
 *
 * It reads events, not a tree, so every finding has its position and a hostile file costs no more
 * memory than its own nesting, which is bounded. Anchors, aliases, merge keys, tags and further
 * documents are refused: they make a file mean something else than it seems to say. */
#include "config/config_priv.h"

#include <stdlib.h>
#include <yaml.h>

/* Sections are at most three deep (a map's entry); what lies deeper is a mistake, and only skipped
 * over. */
#define DEPTH_MAX 16
/* Sections of one file that are watched for being repeated: more than exist, but for entries of
 * maps, whose repeated members are found one by one. */
#define PATHS_MAX (CONFIG_KEYS_MAX * 2)

struct walker {
    yaml_parser_t parser;
    struct config_builder *b;
    bool stop; /* syntax error, out of memory, too many findings, too deep: leave at once */
    /* the dotted name of the mapping or value being read */
    char path[CONFIG_NAME_BYTES_MAX];
    size_t path_len;
    /* sections seen, for repeated ones; keys are tracked by config_build_set */
    struct {
        char name[CONFIG_NAME_BYTES_MAX];
        uint32_t line;
    } sections[PATHS_MAX];
    uint32_t section_count;
};

static uint32_t line_of(const yaml_event_t *e)
{
    return (uint32_t)e->start_mark.line + 1;
}
static uint32_t column_of(const yaml_event_t *e)
{
    return (uint32_t)e->start_mark.column + 1;
}

static struct slice scalar_of(const yaml_event_t *e)
{
    return (struct slice){(const char *)e->data.scalar.value, e->data.scalar.length};
}

static bool is_plain(const yaml_event_t *e)
{
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* A key without a value, as "server:" is when all below is commented out. */
static bool is_empty(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT && is_plain(e) && e->data.scalar.length == 0;
}

/* YAML's other spellings of "no value". */
static bool is_null(const yaml_event_t *e)
{
    struct slice s = scalar_of(e);
    return is_plain(e) && (s.len == 0 || slice_eq_str(s, "~") || slice_eq_str(s, "null") ||
                           slice_eq_str(s, "Null") || slice_eq_str(s, "NULL"));
}

static void report_syntax(struct walker *w)
{
    const yaml_parser_t *p = &w->parser;
    w->stop = true;
    if (p->error == YAML_MEMORY_ERROR) {
        w->b->out_of_memory = true;
        return;
    }
    const char *problem = p->problem != NULL ? p->problem : "is not YAML";
    const char *context = p->context;
    if (strstr(problem, "cannot start any token") != NULL) { /* in plain words */
        problem = "a tab or one of % @ ` stands where a key or value begins; indent with spaces";
        context = NULL;
    }
    if (p->error == YAML_READER_ERROR) /* has an offset only */
        config_finding(w->b, 0, 0, "not UTF-8 text at byte %zu: %s", p->problem_offset + 1,
                       problem);
    else
        config_finding(w->b, (uint32_t)p->problem_mark.line + 1,
                       (uint32_t)p->problem_mark.column + 1, "not valid YAML: %s%s%s", problem,
                       context != NULL ? " " : "", context != NULL ? context : "");
}

/* The next event; false when reading ends here. The caller deletes it. */
static bool next(struct walker *w, yaml_event_t *e)
{
    memset(e, 0, sizeof(*e));
    if (w->stop || config_build_full(w->b)) {
        w->stop = true;
        return false;
    }
    if (yaml_parser_parse(&w->parser, e) == 0) {
        report_syntax(w);
        return false;
    }
    return true;
}

/* Read to the end of the node that e begins. */
static void skip(struct walker *w, const yaml_event_t *first)
{
    uint32_t depth =
        first->type == YAML_MAPPING_START_EVENT || first->type == YAML_SEQUENCE_START_EVENT;
    yaml_event_t e;
    while (depth > 0 && next(w, &e)) {
        if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        if (depth > DEPTH_MAX) {
            config_finding(w->b, line_of(&e), column_of(&e), "nested too deep");
            w->stop = true;
        }
        yaml_event_delete(&e);
    }
}

/* Refuse what a configuration does not need; the node stays to be skipped. */
static bool is_simple(struct walker *w, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT) {
        config_finding(w->b, line_of(e), column_of(e),
                       "aliases (*name) are not supported: write the value itself");
        return false;
    }
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor == NULL && tag == NULL)
        return true;
    config_finding(w->b, line_of(e), column_of(e), "%s not supported: write the value itself",
                   anchor != NULL ? "anchors (&name) are" : "tags (!name) are");
    return false;
}

static struct slice path_of(const struct walker *w)
{
    return (struct slice){w->path, w->path_len};
}

/* Append a key to the path; false (with a finding) when it cannot be one. */
static bool path_push(struct walker *w, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT) {
        if (is_simple(w, e))
            config_finding(w->b, line_of(e), column_of(e), "a key must be a plain word");
        return false;
    }
    struct slice name = scalar_of(e);
    if (!is_simple(w, e))
        return false;
    if (is_plain(e) && slice_eq_str(name, "<<")) {
        config_finding(w->b, line_of(e), column_of(e),
                       "merge keys (<<) are not supported: write the values themselves");
        return false;
    }
    if (memchr(name.ptr, '.', name.len) != NULL) {
        config_finding(w->b, line_of(e), column_of(e),
                       "a key has no dots here: write \"port\" indented below \"server:\"");
        return false;
    }
    size_t dot = w->path_len > 0;
    if (name.len == 0 || w->path_len + dot + name.len >= sizeof(w->path)) {
        config_finding(w->b, line_of(e), column_of(e),
                       name.len == 0 ? "empty key" : "key too long");
        return false;
    }
    if (dot)
        w->path[w->path_len++] = '.';
    memcpy(w->path + w->path_len, name.ptr, name.len);
    w->path_len += name.len;
    return true;
}

static bool section_is_new(struct walker *w, const yaml_event_t *at)
{
    for (uint32_t i = 0; i < w->section_count; i++) {
        if (slice_eq_str(path_of(w), w->sections[i].name)) {
            config_finding(w->b, line_of(at), column_of(at),
                           "section \"%.*s\" is already in line %u: put its keys together",
                           SLICE_ARG(path_of(w)), w->sections[i].line);
            return false;
        }
    }
    if (w->section_count < PATHS_MAX) {
        memcpy(w->sections[w->section_count].name, w->path, w->path_len);
        w->sections[w->section_count].name[w->path_len] = '\0';
        w->sections[w->section_count].line = line_of(at);
        w->section_count++;
    }
    return true;
}

static struct config_item item_of(const yaml_event_t *e)
{
    struct config_item item = {.line = line_of(e), .column = column_of(e)};
    if (e->type == YAML_SCALAR_EVENT) {
        item.text = scalar_of(e);
        item.quoted = !is_plain(e);
    }
    return item;
}

/* One scalar of a value: simple, and not a null. */
static bool is_value(struct walker *w, const yaml_event_t *e)
{
    if (!is_simple(w, e))
        return false;
    if (is_null(e))
        config_finding(
            w->b, line_of(e), column_of(e),
            "\"%.*s\" has no value: write one (\"\" for an empty text) or remove the key",
            SLICE_ARG(path_of(w)));
    return !is_null(e);
}

/* The entries of a list, up to its end. The events stay alive until the list was used: their
 * scalars are what the items point to. */
static void read_list(struct walker *w, struct config_item at)
{
    yaml_event_t events[CONFIG_ITEMS_MAX];
    struct config_item items[CONFIG_ITEMS_MAX];
    uint32_t count = 0;
    bool good = true, ended = false;
    yaml_event_t e;
    while (!ended && next(w, &e)) {
        ended = e.type == YAML_SEQUENCE_END_EVENT;
        if (!ended && e.type == YAML_SCALAR_EVENT && count < CONFIG_ITEMS_MAX && is_value(w, &e)) {
            items[count] = item_of(&e);
            events[count++] = e; /* moved */
            continue;
        }
        if (!ended) {
            if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT)
                config_finding(w->b, line_of(&e), column_of(&e),
                               "\"%.*s\" is a list of plain values", SLICE_ARG(path_of(w)));
            else if (e.type == YAML_ALIAS_EVENT)
                (void)is_simple(w, &e); /* for its finding */
            else if (count == CONFIG_ITEMS_MAX && good)
                config_finding(w->b, line_of(&e), column_of(&e),
                               "\"%.*s\" has more than %d entries", SLICE_ARG(path_of(w)),
                               CONFIG_ITEMS_MAX);
            good = false;
            skip(w, &e);
        }
        yaml_event_delete(&e);
    }
    if (good && ended)
        config_build_set(w->b, path_of(w), at, items, count, true);
    for (uint32_t i = 0; i < count; i++)
        yaml_event_delete(&events[i]);
}

/* What a known key is set to; at is the key. */
static void read_value(struct walker *w, struct config_item at, const yaml_event_t *value)
{
    if (value->type == YAML_MAPPING_START_EVENT) {
        if (is_simple(w, value))
            config_finding(w->b, line_of(value), column_of(value),
                           "\"%.*s\" is a single key, not a section", SLICE_ARG(path_of(w)));
        skip(w, value);
    } else if (value->type == YAML_SEQUENCE_START_EVENT) {
        if (is_simple(w, value))
            read_list(w, at);
        else
            skip(w, value);
    } else if (value->type == YAML_SCALAR_EVENT && is_value(w, value)) {
        struct config_item item = item_of(value);
        config_build_set(w->b, path_of(w), at, &item, 1, false);
    } else if (value->type == YAML_ALIAS_EVENT) {
        (void)is_simple(w, value); /* for its finding */
    }
}

static void read_mapping(struct walker *w, uint32_t depth);

static void read_section(struct walker *w, const yaml_event_t *key, const yaml_event_t *value,
                         uint32_t depth)
{
    bool is_new = section_is_new(w, key);
    if (is_empty(value) && is_simple(w, value))
        return;
    if (value->type != YAML_MAPPING_START_EVENT) {
        if (is_simple(w, value))
            config_finding(w->b, line_of(value), column_of(value),
                           "\"%.*s\" is a section: its keys stand indented below it",
                           SLICE_ARG(path_of(w)));
        skip(w, value);
    } else if (is_simple(w, value) && is_new && depth < DEPTH_MAX) {
        read_mapping(w, depth + 1);
    } else {
        skip(w, value);
    }
}

/* Key and value pairs up to the end of the mapping whose start was just read. */
static void read_mapping(struct walker *w, uint32_t depth)
{
    size_t path_len = w->path_len;
    yaml_event_t key, value;
    while (next(w, &key)) {
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            return;
        }
        bool is_key = path_push(w, &key);
        if (!is_key)
            skip(w, &key);
        if (next(w, &value)) {
            uint32_t index;
            bool twin;
            struct config_item at = item_of(&key);
            enum config_lookup found =
                is_key ? config_key_find(path_of(w), &index, &twin) : CONFIG_UNKNOWN;
            if (found == CONFIG_KEY || found == CONFIG_MEMBER) {
                read_value(w, at, &value);
            } else if (found == CONFIG_SECTION) {
                read_section(w, &key, &value, depth);
            } else {
                if (is_key)
                    config_build_refuse(w->b, &at, path_of(w), path_of(w));
                skip(w, &value);
            }
            yaml_event_delete(&value);
        }
        yaml_event_delete(&key);
        w->path_len = path_len;
    }
}

static void read_document(struct walker *w)
{
    yaml_event_t root;
    if (!next(w, &root))
        return;
    if (root.type == YAML_MAPPING_START_EVENT && is_simple(w, &root)) {
        read_mapping(w, 0);
    } else {
        if (root.type != YAML_MAPPING_START_EVENT && !is_empty(&root) && is_simple(w, &root))
            config_finding(w->b, line_of(&root), column_of(&root),
                           "a configuration is made of \"key: value\" lines");
        skip(w, &root);
    }
    yaml_event_delete(&root);
}

static void read_stream(struct walker *w)
{
    uint32_t documents = 0;
    bool ended = false;
    yaml_event_t e;
    while (!ended && next(w, &e)) {
        if (e.type == YAML_DOCUMENT_START_EVENT && documents++ == 0) {
            read_document(w);
        } else if (e.type == YAML_DOCUMENT_START_EVENT) {
            config_finding(w->b, line_of(&e), column_of(&e),
                           "a second document begins here: one file holds one");
            w->stop = true;
        }
        ended = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
}

void config_yaml_feed(struct config_builder *b, struct slice text)
{
    struct walker *w = calloc(1, sizeof(*w));
    if (w == NULL || yaml_parser_initialize(&w->parser) == 0) {
        b->out_of_memory = true;
        free(w);
        return;
    }
    w->b = b;
    yaml_parser_set_input_string(&w->parser, (const unsigned char *)text.ptr, text.len);
    read_stream(w);
    yaml_parser_delete(&w->parser);
    free(w);
}
