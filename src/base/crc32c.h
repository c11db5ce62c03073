/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli polynomial, RFC 3720 §12.1), with the SSE4.2 instruction where present. */
#ifndef WH_BASE_CRC32C_H
#define WH_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of n bytes continued from crc (0 to start). crc32c(0, "123456789", 9) == 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

#endif
