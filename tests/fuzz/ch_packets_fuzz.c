/* SPDX-License-Identifier: Apache-2.0 */
/* Server packets of ClickHouse's native protocol: whatever a server sends, the decoder stays in
 * bounds, ends, and takes no more than there is. The first byte chooses revision and framing.
 * Checked too: the same bytes cut short are never decoded into something longer. */
#include "base/magic.h"
#include "clickhouse/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct ch_packet *p)
{
    uint64_t sum = 0; /* touch every byte that the packet refers to */
    for (size_t i = 0; i < p->text.len; i++)
        sum += (unsigned char)p->text.ptr[i];
    for (uint32_t i = 0; i < p->column_count; i++) {
        for (size_t k = 0; k < p->columns[i].name.len; k++)
            sum += (unsigned char)p->columns[i].name.ptr[k];
        for (size_t k = 0; k < p->columns[i].type.len; k++)
            sum += (unsigned char)p->columns[i].type.ptr[k];
    }
    must(sum < UINT64_MAX && strlen(p->hello.timezone) < sizeof(p->hello.timezone));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t revisions[] = {54460, 54412, 54420, 54429, 54451, 54454, 54458, 0};
    if (size == 0)
        return 0;
    struct ch_decoder d;
    struct ch_packet p;
    ch_decoder_init(&d, revisions[data[0] & 7]);
    d.framed = (data[0] & 8) != 0;
    struct slice rest = {(const char *)data + 1, size - 1};
    for (;;) {
        size_t used = 0, cut = 0;
        int rc = ch_packet_take(&d, rest, &used, &p);
        if (rc != 0) {
            must(rc == WH_EAGAIN || rc == WH_ESYNTAX || rc == WH_ELIMIT || rc == WH_ECORRUPT ||
                 rc == WH_EUNSUPPORTED);
            break;
        }
        must(used > 0 && used <= rest.len);
        check(&p);
        must(ch_packet_take(&d, (struct slice){rest.ptr, used - 1}, &cut, &p) == WH_EAGAIN);
        rest.ptr += used;
        rest.len -= used;
    }
    ch_decoder_fini(&d);
    return 0;
}
