/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a role as people write them. Any thread. */
#ifndef WH_ACCESS_UNITS_H
#define WH_ACCESS_UNITS_H

#include "base/slice.h"

#include <stdint.h>

/* "500ms", "5s", "1m30s", "1.5h"; without a unit milliseconds. In nanoseconds. */
bool access_duration_ns(struct slice text, uint64_t *out);
/* "4GiB" (2^30), "4GB" (10^9), "1.5 MiB"; without a unit bytes. Units in any case. */
bool access_size_bytes(struct slice text, uint64_t *out);

#endif
