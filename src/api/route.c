/* SPDX-License-Identifier: Apache-2.0 */
#include "api/route.h"

bool route_match(const char *pattern, struct slice path, struct slice *param)
{
    const char *p = path.ptr, *end = path.len > 0 ? path.ptr + path.len : path.ptr;
    struct slice found = {NULL, 0};
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '{') {
            if (p == end || *p++ != *pattern)
                return false;
            continue;
        }
        pattern = strchr(pattern, '}');
        const char *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
        const char *stop = slash != NULL ? slash : end;
        if (pattern == NULL || stop == p)
            return false;
        found = (struct slice){p, (size_t)(stop - p)};
        p = stop;
    }
    if (p != end)
        return false;
    if (found.ptr != NULL)
        *param = found;
    return true;
}
