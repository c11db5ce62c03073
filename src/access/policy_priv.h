/* SPDX-License-Identifier: Apache-2.0 */
/* A policy in memory. */
#ifndef WH_ACCESS_POLICY_PRIV_H
#define WH_ACCESS_POLICY_PRIV_H

#include "access/policy.h"
#include "base/arena.h"

#define ACCESS_POLICY_MAGIC 0x504f4c49u

struct access_table {
    struct slice name;
    struct access_grant *grants[ACCESS_OPS]; /* sorted by role */
    uint32_t grant_count[ACCESS_OPS];
};

struct access_policy {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint64_t version;
    struct arena arena;
    struct slice default_role, admin_role;
    struct access_table *tables; /* sorted by name */
    uint32_t table_count;
    struct slice extra;    /* ,"name":value… members of the document without meaning here */
    struct slice *ignored; /* warnings about members without meaning */
    uint32_t ignored_count, ignored_cap;
};

const char *access_op_name(enum access_op op); /* "select", "insert" */
const char *access_compare_name(enum access_compare op);

#endif
