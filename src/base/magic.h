/* SPDX-License-Identifier: Apache-2.0 */
/* Assertions and object magic numbers (after varnish's vas.h and miniobj.h).
 *
 * must() is compiled in always: a daemon that holds other people's data stops rather than goes on
 * with a broken invariant. Each long-lived object starts with a magic number that is checked on
 * entry and cleared on free, which turns use-after-free into an immediate, named stop. */
#ifndef WH_BASE_MAGIC_H
#define WH_BASE_MAGIC_H

#include <stdint.h>
#include <stdlib.h>

_Noreturn void must_failed(const char *file, int line, const char *func, const char *what);

#define must(cond)                                            \
    do {                                                      \
        if (__builtin_expect(!(cond), 0))                     \
            must_failed(__FILE__, __LINE__, __func__, #cond); \
    } while (0)

#define CHECK_MAGIC(obj, value) must((obj) != NULL && (obj)->magic == (value))

#endif
