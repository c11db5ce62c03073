/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte is the size of the pieces in which the answer arrives: in pieces and in one go it
 * must mean the same. */
#include "base/limits.h"
#include "base/magic.h"
#include "ctl/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(const uint8_t *data, size_t size, size_t step, struct buf *rx, struct ctl_answer *a)
{
    struct err e = {0};
    int rc = WH_EAGAIN;
    for (size_t at = 0; at < size && rc == WH_EAGAIN; at += step) {
        buf_put(rx, data + at, size - at < step ? size - at : step);
        rc = ctl_answer_read(rx, false, a, &e);
    }
    if (rc == WH_EAGAIN)
        rc = ctl_answer_read(rx, true, a, &e);
    must(rc != WH_EAGAIN && (rc == 0) == (e.text[0] == '\0'));
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf one, two;
    struct ctl_answer a = {0}, b = {0};
    if (size == 0 || size > 128 * KIB)
        return 0;
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    int rc = feed(data + 1, size - 1, size, &one, &a);
    int again = feed(data + 1, size - 1, (size_t)data[0] + 1, &two, &b);
    must((rc == 0) == (again == 0));
    if (rc == 0) {
        must(a.status == b.status && a.status >= 200 && a.body.len <= size);
        must(slice_eq(a.body, b.body));
    }
    buf_fini(&one);
    buf_fini(&two);
    return 0;
}
