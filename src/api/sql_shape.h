/* SPDX-License-Identifier: Apache-2.0 */
/* What one has to know about a statement that an administrator wrote (http-api §9). */
#ifndef WH_API_SQL_SHAPE_H
#define WH_API_SQL_SHAPE_H

#include "base/slice.h"

#include <stdbool.h>

struct sql_shape {
    bool reads;          /* its verb is none that writes (pipes.md §6) */
    struct slice format; /* of its own FORMAT clause; len 0: it has none. An INSERT's, which tells
                            how its data reads, does not count */
};
struct sql_shape sql_shape_of(struct slice sql);

#endif
