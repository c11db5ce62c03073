/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a point in time: what is understood is printed as text that is understood alike. */
#include "base/magic.h"
#include "schema/instant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t now = 1800000000123456789u;
    uint64_t ns, again;
    if (!instant_parse((struct slice){(const char *)data, size}, now, &ns))
        return 0;
    struct buf out;
    buf_init(&out, 64);
    instant_put(&out, ns);
    must(buf_ok(&out) && out.len == 30);
    must(instant_parse(buf_slice(&out), 0, &again) && again == ns);
    buf_fini(&out);
    return 0;
}
