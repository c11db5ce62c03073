/* SPDX-License-Identifier: Apache-2.0 */
/* CityHash 1.0.2 against the vectors of clickhouse-native §8, and the error table of §10. */
#include "clickhouse/native.h"

#include "tests/lib/tap.h"

#include <stdlib.h>

static const struct {
    size_t n;
    uint64_t low, high;
} vectors[] = {
    {0, 0x3df09dfc64c09a2b, 0x3cb540c392e51e29},    {1, 0xa81dd96fd15be273, 0xa60860b94ba69401},
    {7, 0xce0df19b9b8450d7, 0x0f014d4ef02edab2},    {8, 0xd4ea7ae69ca13baa, 0xda68b25ea692961c},
    {15, 0xe9175e44e5764bc1, 0x72549c2ccab2539a},   {16, 0x45640521ef971440, 0x34ba4ceb52387214},
    {17, 0x8ac16ae8dad3caa5, 0x9454e956b127464b},   {33, 0xc8eaa13af541be7f, 0x77ca85c125ebb811},
    {64, 0x8dac557224918cf1, 0x7f56585174f37bd5},   {143, 0x0b09a19a52accda5, 0xe5345eb4ac4f09a9},
    {144, 0xd4ba9ba1851a6023, 0xc1dcad2f7771a446},  {145, 0xab08e10b22795acf, 0x2f330888f20ec363},
    {272, 0x934aebe688eb9aed, 0x01fd73bcbf0f56d6},  {273, 0x86f1ff23f2473f86, 0xb09c62d0d5cfaaf4},
    {1000, 0x94b7489c37c90f65, 0x2c06430247065c08},
};

static void test_hash(void)
{
    for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
        size_t n = vectors[v].n;
        /* Exactly n bytes on the heap, so that ASan sees a read past the end. */
        unsigned char *p = malloc(n == 0 ? 1 : n);
        if (p == NULL)
            return;
        for (size_t i = 0; i < n; i++)
            p[i] = (unsigned char)(131 * i + 7 * (i >> 3) + 17);
        struct ch_hash128 h = ch_cityhash128(p, n);
        ok(h.low == vectors[v].low && h.high == vectors[v].high, "cityhash128 of %zu bytes", n);
        free(p);
    }
}

static void test_classify(void)
{
    static const struct {
        int32_t code;
        enum ch_outcome want;
    } rows[] = {
        {159, CH_UNAVAILABLE}, {202, CH_UNAVAILABLE}, {210, CH_UNAVAILABLE}, {216, CH_UNAVAILABLE},
        {242, CH_UNAVAILABLE}, {241, CH_UNAVAILABLE}, {243, CH_UNAVAILABLE}, {286, CH_UNAVAILABLE},
        {439, CH_UNAVAILABLE}, {999, CH_UNAVAILABLE}, {201, CH_UNAVAILABLE}, {319, CH_UNKNOWN_FATE},
        {60, CH_SCHEMA},       {81, CH_SCHEMA},       {16, CH_SCHEMA},       {115, CH_SCHEMA},
        {6, CH_DATA},          {27, CH_DATA},         {53, CH_DATA},         {368, CH_DATA},
        {469, CH_DATA},        {691, CH_DATA},        {193, CH_CONFIG},      {516, CH_CONFIG},
        {497, CH_CONFIG},      {164, CH_CONFIG},      {62, CH_BUG},          {101, CH_BUG},
        {271, CH_BUG},         {123456, CH_BUG},      {-1, CH_BUG},          {745, CH_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ok(ch_classify(rows[i].code, "text") == rows[i].want, "code %d is %s", rows[i].code,
           ch_outcome_name(rows[i].want));
    ok(ch_classify(252, "DB::Exception: Too many parts (300)") == CH_TOO_MANY_PARTS,
       "252 is too_many_parts");
    ok(ch_classify(252, NULL) == CH_TOO_MANY_PARTS, "252 without a text too");
    ok(ch_classify(252, "Too many partitions for single INSERT block (more than 100)") ==
           CH_SPLIT_PARTITIONS,
       "252 about partitions is split_partitions");
}

int main(void)
{
    test_hash();
    test_classify();
    return tap_done();
}
