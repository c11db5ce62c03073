/* SPDX-License-Identifier: Apache-2.0 */
/* The manual and the sample say what the table of keys says: each key is in both, with its default
 * and how it is applied; and neither has a key that is none. */
#include "config/config_priv.h"
#include "tests/lib/tap.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static char *read_source(const char *name)
{
    char path[4096];
    const char *srcdir = getenv("srcdir");
    (void)snprintf(path, sizeof(path), "%s/%s", srcdir != NULL ? srcdir : ".", name);
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    if (f == NULL || text == NULL) {
        printf("Bail out! cannot read %s: %s\n", path, strerror(errno));
        exit(99);
    }
    (void)!fread(text, 1, (1 << 20) - 1, f);
    (void)fclose(f);
    return text;
}

static const char entry_start[] = "\n.It Ic ";

/* The entry of a key in the manual, on one line; NULL when there is none. */
static char *manual_entry(const char *manual, const char *name)
{
    char start[256];
    (void)snprintf(start, sizeof(start), "%s%s\n", entry_start, name);
    const char *at = strstr(manual, start);
    if (at == NULL)
        return NULL;
    at += strlen(start);
    const char *item = strstr(at, entry_start), *list = strstr(at, "\n.El");
    const char *end = item != NULL && item < list ? item : list;
    char *entry = strndup(at, end != NULL ? (size_t)(end - at) : strlen(at));
    for (char *p = entry; p != NULL && *p != '\0'; p++)
        if (*p == '\n')
            *p = ' ';
    return entry;
}

static void test_manual(const char *manual)
{
    uint32_t count;
    const struct config_key_info *keys = config_keys(&count);
    for (uint32_t i = 0; i < count; i++) {
        char want[256];
        char *entry = manual_entry(manual, keys[i].name);
        ok(entry != NULL, "wavehoused.yaml(5) has %s", keys[i].name);
        (void)snprintf(want, sizeof(want), "; default %s; %s.",
                       keys[i].default_text[0] != '\0' ? keys[i].default_text : "empty",
                       keys[i].apply);
        ok(entry != NULL && strstr(entry, want) != NULL, "%s says \"%s\"", keys[i].name, want);
        free(entry);
    }
}

static void test_manual_members(const char *manual)
{
    struct config_key_info member;
    for (uint32_t i = 0; config_member(i, &member); i++) {
        char want[256];
        char *entry = manual_entry(manual, member.name);
        ok(entry != NULL, "wavehoused.yaml(5) has %s", member.name);
        bool inherits = strchr(member.default_text, '.') != NULL;
        (void)snprintf(want, sizeof(want), "; default %s%s; %s.", inherits ? "that of " : "",
                       member.default_text, member.apply);
        ok(entry != NULL && strstr(entry, want) != NULL, "%s says \"%s\"", member.name, want);
        free(entry);
    }
}

/* Every entry within KEYS names a key. */
static void test_manual_has_no_other(const char *manual)
{
    const char *p = strstr(manual, "\n.Sh KEYS\n"), *end = strstr(manual, "\n.Sh SECRETS\n");
    ok(p != NULL && end != NULL, "the sections are where this test looks");
    while (p != NULL && end != NULL && (p = strstr(p, entry_start)) != NULL && p < end) {
        uint32_t index;
        bool twin;
        p += strlen(entry_start);
        struct slice name = {p, strcspn(p, "\n")};
        enum config_lookup found = config_key_find(name, &index, &twin);
        ok(found == CONFIG_KEY || found == CONFIG_MEMBER, "%.*s is a key", SLICE_ARG(name));
    }
}

/* Take the comment signs away from keys: those stand right before the name, in prose a space
 * follows. */
static void uncomment(char *text)
{
    char *to = text;
    for (char *p = text; *p != '\0'; p++)
        if (*p != '#' || !isalpha((unsigned char)p[1]))
            *to++ = *p;
    *to = '\0';
}

static void test_sample(void)
{
    struct buf findings, notes, print;
    char *sample = read_source("doc/wavehoused.yaml");
    buf_init(&findings, SIZE_MAX);
    buf_init(&notes, SIZE_MAX);
    buf_init(&print, SIZE_MAX);
    const struct config *plain = config_load_text(slice_str(sample), &findings);
    ok(plain != NULL, "the sample loads as it is");
    uncomment(sample);
    const struct config *full = config_load_text(slice_str(sample), &findings);
    if (!ok(full != NULL, "the sample loads with every key"))
        printf("# %.*s\n", SLICE_ARG(buf_slice(&findings)));
    if (plain != NULL && full != NULL) {
        config_compare(plain, full, &notes);
        if (!ok(notes.len == 0, "its values are the defaults"))
            printf("# %.*s\n", SLICE_ARG(buf_slice(&notes)));
        config_print(full, &print);
        buf_put_u8(&print, '\0');
        const char *absent = strstr(print.ptr, "# built in");
        while (absent != NULL && absent > print.ptr && absent[-1] != '\n')
            absent--;
        ok(absent == NULL, "no key is missing: %.*s",
           absent != NULL ? (int)strcspn(absent, "\n") : 0, absent != NULL ? absent : "");
        ok(config_listen_is_loopback(plain), "it is closed to the outside");
    }
    config_unref(plain);
    config_unref(full);
    buf_fini(&findings);
    buf_fini(&notes);
    buf_fini(&print);
    free(sample);
}

int main(void)
{
    char *manual = read_source("man/wavehoused.yaml.5");
    test_manual(manual);
    test_manual_members(manual);
    test_manual_has_no_other(manual);
    test_sample();
    free(manual);
    return tap_done();
}
