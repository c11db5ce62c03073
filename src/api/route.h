/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of routes with parameters: /v1/ops/dlq/{id}. */
#ifndef WH_API_ROUTE_H
#define WH_API_ROUTE_H

#include "base/slice.h"

#include <stdbool.h>

/* Does path, as sent and still percent-encoded, follow the pattern? {name} stands for one segment
 * that is not empty; an encoded slash does not end it. *param becomes the segment (of several, the
 * last), still encoded: decode it once with http_percent_decode. Unchanged without a match. */
bool route_match(const char *pattern, struct slice path, struct slice *param);

#endif
