/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: refused with findings, one a line, or accepted; and then what
 * is printed must read back as the same settings. */
#include "base/magic.h"
#include "config/config_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_findings(const struct buf *findings)
{
    size_t lines = 0;
    must(findings->len > 0 && findings->ptr[findings->len - 1] == '\n');
    for (size_t i = 0; i < findings->len; i++) {
        must(findings->ptr[i] == '\n' || (unsigned char)findings->ptr[i] >= 0x20);
        lines += findings->ptr[i] == '\n';
    }
    must(lines <= CONFIG_FINDINGS_MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf findings, print, notes;
    if (size > CONFIG_FILE_BYTES_MAX)
        return 0;
    buf_init(&findings, SIZE_MAX);
    buf_init(&print, SIZE_MAX);
    buf_init(&notes, SIZE_MAX);
    const struct config *c = config_load_text((struct slice){(const char *)data, size}, &findings);
    if (c == NULL) {
        check_findings(&findings);
    } else {
        must(findings.len == 0);
        config_print(c, &print);
        const struct config *again = config_load_text(buf_slice(&print), &findings);
        must(again != NULL);
        config_compare(c, again, &notes);
        /* the one difference that there may be: a secret is not printed */
        must(notes.len == 0 || slice_eq_str(buf_slice(&notes), "clickhouse.password: changed\n"));
        config_unref(again);
    }
    config_unref(c);
    buf_fini(&findings);
    buf_fini(&print);
    buf_fini(&notes);
    return 0;
}
