/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/target.h"

#include "base/magic.h"
#include "clickhouse/tls_client.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_MAGIC 0x63685467u

struct ch_target {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct ch_options options;
    struct ch_endpoint *endpoints;
    char *database, *username, *password;
};

static void target_free(struct ch_target *t)
{
    if (t->password != NULL)
        explicit_bzero(t->password, strlen(t->password));
    ch_tls_unref(t->options.tls);
    free(t->endpoints);
    free(t->database);
    free(t->username);
    free(t->password);
    t->magic = 0;
    free(t);
}

struct ch_target *ch_target_new(const struct ch_options *options)
{
    struct ch_target *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    size_t bytes = options->endpoint_count * sizeof(*t->endpoints);
    t->magic = TARGET_MAGIC;
    atomic_init(&t->refs, 1);
    t->options = *options;
    if (t->options.tls != NULL)
        (void)ch_tls_ref(t->options.tls);
    t->endpoints = malloc(bytes + 1);
    t->database = strdup(options->database);
    t->username = strdup(options->username);
    t->password = strdup(options->password);
    if (t->endpoints == NULL || t->database == NULL || t->username == NULL || t->password == NULL) {
        target_free(t);
        return NULL;
    }
    if (bytes > 0)
        memcpy(t->endpoints, options->endpoints, bytes);
    t->options.endpoints = t->endpoints;
    t->options.database = t->database;
    t->options.username = t->username;
    t->options.password = t->password;
    return t;
}

struct ch_target *ch_target_ref(struct ch_target *t)
{
    CHECK_MAGIC(t, TARGET_MAGIC);
    must(atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed) > 0);
    return t;
}

void ch_target_unref(struct ch_target *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TARGET_MAGIC);
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        target_free(t);
}

const struct ch_options *ch_target_options(const struct ch_target *t)
{
    CHECK_MAGIC(t, TARGET_MAGIC);
    return &t->options;
}
