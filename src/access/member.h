/* SPDX-License-Identifier: Apache-2.0 */
/* Members of JSON objects by name, however the name is escaped. Any thread. */
#ifndef WH_ACCESS_MEMBER_H
#define WH_ACCESS_MEMBER_H

#include "json/json.h"

/* Walks the members of the object at node `obj` of doc: `key` and key + 1, its value. */
#define ACCESS_EACH_MEMBER(doc, obj, key)                                           \
    for (const struct json_node *key = (obj) + 1; key < (doc)->nodes + (obj)->next; \
         key = (doc)->nodes + (key + 1)->next)
/* Walks the elements of the array at node `arr`. */
#define ACCESS_EACH_ELEMENT(doc, arr, item)                                           \
    for (const struct json_node *item = (arr) + 1; item < (doc)->nodes + (arr)->next; \
         item = (doc)->nodes + item->next)

/* Is STRING node n the text name? name is up to LIMIT_NAME_BYTES. */
bool access_string_is(const struct json_doc *doc, const struct json_node *n, struct slice name);

/* The value of member `name`, the last of several; NULL when there is none or obj is no object. */
const struct json_node *access_member(const struct json_doc *doc, const struct json_node *obj,
                                      struct slice name);

/* A key of obj that stands there twice into *out, or NULL. For documents in which a silent "last
 * one wins" would be a hole. 0 or -ENOMEM. */
int access_duplicate_key(const struct json_doc *doc, const struct json_node *obj,
                         const struct json_node **out);

#endif
