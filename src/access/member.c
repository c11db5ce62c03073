/* SPDX-License-Identifier: Apache-2.0 */
#include "access/member.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>

bool access_string_is(const struct json_doc *doc, const struct json_node *n, struct slice name)
{
    char text[6 * LIMIT_NAME_BYTES]; /* every byte of the longest name may be a \u escape */
    struct slice raw = json_raw(doc, n);
    if (n->kind != JSON_STRING)
        return false;
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return slice_eq(raw, name);
    return raw.len <= sizeof(text) &&
           slice_eq((struct slice){text, json_unescape(raw, text)}, name);
}

const struct json_node *access_member(const struct json_doc *doc, const struct json_node *obj,
                                      struct slice name)
{
    const struct json_node *found = NULL;
    if (obj->kind == JSON_OBJECT)
        ACCESS_EACH_MEMBER(doc, obj, key)
    if (access_string_is(doc, key, name))
        found = key + 1;
    return found;
}

struct named {
    struct slice name;
    const struct json_node *key;
};

static int by_name(const void *a, const void *b)
{
    return slice_compare(((const struct named *)a)->name, ((const struct named *)b)->name);
}

int access_duplicate_key(const struct json_doc *doc, const struct json_node *obj,
                         const struct json_node **out)
{
    size_t n = 0, bytes = 0;
    *out = NULL;
    if (obj->count < 2)
        return 0;
    ACCESS_EACH_MEMBER(doc, obj, key)
    bytes += key->len;
    struct named *list = calloc(obj->count, sizeof(*list));
    char *text = malloc(bytes + 1);
    if (list == NULL || text == NULL) {
        free(list);
        free(text);
        return -ENOMEM;
    }
    char *p = text;
    ACCESS_EACH_MEMBER(doc, obj, key)
    {
        list[n++] = (struct named){{p, json_unescape(json_raw(doc, key), p)}, key};
        p += list[n - 1].name.len;
    }
    qsort(list, n, sizeof(*list), by_name);
    for (size_t i = 1; i < n && *out == NULL; i++)
        if (slice_eq(list[i].name, list[i - 1].name))
            *out = list[i].key;
    free(list);
    free(text);
    return 0;
}
