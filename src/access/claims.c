/* SPDX-License-Identifier: Apache-2.0 */
#include "access/claims.h"

#include "access/member.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CLAIMS_MAGIC 0x434c4d53u

struct access_claims {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct json_doc doc;
    struct json_node *nodes; /* doc.nodes, ours */
    char text[];             /* doc.text points into it */
};

/* Read c->text into c->doc. */
static int read_object(struct access_claims *c, struct json_reader *reader, size_t len,
                       struct err *e)
{
    struct json_doc doc;
    const struct json_node *twice;
    int rc = json_reader_begin(reader, c->text, len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == -ENOMEM)
        return err_set(e, rc, "out of memory");
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT)
        return err_set(e, rc, "the claims are not JSON: %s", json_reader_error(reader));
    if (rc != 0 || doc.nodes[0].kind != JSON_OBJECT || json_reader_trailing(reader))
        return err_set(e, WH_ESYNTAX, "the claims are not one JSON object");
    rc = access_duplicate_key(&doc, doc.nodes, &twice);
    if (rc != 0)
        return err_set(e, rc, "out of memory");
    if (twice != NULL)
        return err_set(e, WH_ESYNTAX, "the claim \"%.*s\" stands there twice",
                       twice->len < 80 ? (int)twice->len : 80, json_raw(&doc, twice).ptr);
    c->nodes = malloc(doc.node_count * sizeof(*c->nodes));
    if (c->nodes == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    memcpy(c->nodes, doc.nodes, doc.node_count * sizeof(*c->nodes));
    c->doc = (struct json_doc){doc.text, c->nodes, doc.node_count};
    return 0;
}

int access_claims_new(struct json_reader *reader, struct slice text, struct access_claims **out,
                      struct err *e)
{
    struct access_claims *c = calloc(1, sizeof(*c) + text.len + LIMIT_JSON_PADDING);
    *out = NULL;
    if (c == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    c->magic = CLAIMS_MAGIC;
    c->refs = 1;
    if (text.len > 0)
        memcpy(c->text, text.ptr, text.len);
    int rc = read_object(c, reader, text.len, e);
    if (rc != 0) {
        access_claims_unref(c);
        return rc;
    }
    *out = c;
    return 0;
}

struct access_claims *access_claims_ref(struct access_claims *c)
{
    CHECK_MAGIC(c, CLAIMS_MAGIC);
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void access_claims_unref(struct access_claims *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CLAIMS_MAGIC);
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    c->magic = 0;
    free(c->nodes);
    free(c);
}

const struct json_doc *access_claims_doc(const struct access_claims *c)
{
    CHECK_MAGIC(c, CLAIMS_MAGIC);
    return &c->doc;
}

const struct json_node *access_claims_find(const struct access_claims *c, struct slice path)
{
    if (c == NULL)
        return NULL;
    CHECK_MAGIC(c, CLAIMS_MAGIC);
    const struct json_node *n = c->doc.nodes;
    while (n != NULL) {
        const char *dot = path.len > 0 ? memchr(path.ptr, '.', path.len) : NULL;
        size_t len = dot != NULL ? (size_t)(dot - path.ptr) : path.len;
        n = len <= LIMIT_NAME_BYTES ? access_member(&c->doc, n, (struct slice){path.ptr, len})
                                    : NULL;
        if (dot == NULL)
            break;
        path = (struct slice){dot + 1, path.len - len - 1};
    }
    return n;
}

bool access_claims_string(const struct access_claims *c, struct slice path, struct buf *out)
{
    const struct json_node *n = access_claims_find(c, path);
    if (n == NULL || n->kind != JSON_STRING)
        return false;
    struct slice raw = json_raw(&c->doc, n);
    if (buf_reserve(out, raw.len) != 0)
        return false;
    out->len += json_unescape(raw, out->ptr + out->len);
    return true;
}
