/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the catalog's files: the catalog itself. */
#ifndef WH_SCHEMA_SCHEMA_PRIV_H
#define WH_SCHEMA_SCHEMA_PRIV_H

#include "schema/schema.h"

#include <stdatomic.h>

#define SCHEMA_CATALOG_MAGIC 0x5c4eca7a

struct schema_catalog {
    uint32_t magic;
    atomic_uint refs;
    struct arena arena;          /* every table, column, type and text below */
    struct schema_table *tables; /* by name */
    uint32_t table_count;
    struct slice version;  /* the server's */
    struct slice timezone; /* the server's */
};

uint64_t schema_hash(uint64_t seed, struct slice s);
#define SCHEMA_HASH_SEED 0xcbf29ce484222325u

/* "" or the word that system.columns uses. */
const char *schema_default_name(enum schema_default kind);
/* False for a word this version does not know. */
bool schema_default_parse(struct slice word, enum schema_default *kind);

#endif
