/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers in byte strings. Disk and wire formats are written with these, field by
 * field; a struct's memory never goes to disk or network. */
#ifndef WH_BASE_LE_H
#define WH_BASE_LE_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "port these accessors before building on a big-endian machine"
#endif

static inline void le16_put(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void le32_put(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void le64_put(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline uint16_t le16_get(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint32_t le32_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint64_t le64_get(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

#endif
