/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration files of the embedded engine: loopback only, small caches, no system log
 * tables, and the settings of a server where "clickhouse local" would set its own. */
#include "base/slice.h"
#include "engine/engine_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK                                                                                       \
    "<!-- Written by wavehoused-engine at each start. Put changes into config.d/ or users.d/, or " \
    "delete this line to keep the file. -->\n"

/* Sizes: the engine's defaults are for a large server (mark cache 5 GiB, primary index cache 5
 * GiB); these bound it to what a laptop or a small site can spare. The background pool must hold
 * the free entries that the merge_tree settings ask for, so both are lowered together. */
static const char config_text[] = MARK
    "<clickhouse>\n"
    "  <users_config>users.xml</users_config>\n"
    "  <default_profile>default</default_profile>\n"
    "  <listen_host>127.0.0.1</listen_host>\n"
    "  <timezone>UTC</timezone>\n"
    "  <logger>\n"
    "    <level>warning</level>\n"
    "    <console>0</console>\n"
    "    <log>engine.log</log>\n"
    "    <size>8M</size>\n"
    "    <count>2</count>\n"
    "  </logger>\n"
    "  <max_connections>1024</max_connections>\n"
    "  <keep_alive_timeout>30</keep_alive_timeout>\n"
    "  <mark_cache_size>33554432</mark_cache_size>\n"
    "  <index_mark_cache_size>8388608</index_mark_cache_size>\n"
    "  <primary_index_cache_size>33554432</primary_index_cache_size>\n"
    "  <uncompressed_cache_size>0</uncompressed_cache_size>\n"
    "  <index_uncompressed_cache_size>0</index_uncompressed_cache_size>\n"
    "  <mmap_cache_size>64</mmap_cache_size>\n"
    "  <query_condition_cache_size>4194304</query_condition_cache_size>\n"
    "  <compiled_expression_cache_size>8388608</compiled_expression_cache_size>\n"
    "  <query_cache><max_size_in_bytes>8388608</max_size_in_bytes></query_cache>\n"
    "  <database_atomic_delay_before_drop_table_sec>0"
    "</database_atomic_delay_before_drop_table_sec>\n"
    "  <background_pool_size>2</background_pool_size>\n"
    "  <background_move_pool_size>1</background_move_pool_size>\n"
    "  <background_fetches_pool_size>1</background_fetches_pool_size>\n"
    "  <background_common_pool_size>2</background_common_pool_size>\n"
    "  <background_schedule_pool_size>4</background_schedule_pool_size>\n"
    "  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>\n"
    "  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>\n"
    "  <background_message_broker_schedule_pool_size>1"
    "</background_message_broker_schedule_pool_size>\n"
    "  <tables_loader_background_pool_size>2</tables_loader_background_pool_size>\n"
    "  <asynchronous_metrics_update_period_s>60</asynchronous_metrics_update_period_s>\n"
    "  <merge_tree>\n"
    "    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2"
    "</number_of_free_entries_in_pool_to_lower_max_size_of_merge>\n"
    "    <number_of_free_entries_in_pool_to_execute_mutation>2"
    "</number_of_free_entries_in_pool_to_execute_mutation>\n"
    "    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2"
    "</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>\n"
    "  </merge_tree>\n"
    "</clickhouse>\n";

/* "clickhouse local" changes the first three; a server has them like this. The program itself runs
 * as "default" without a password and cannot be told another, so that user has none. */
static const char users_text[] =
    MARK "<clickhouse>\n"
         "  <profiles>\n"
         "    <default>\n"
         "      <implicit_select>0</implicit_select>\n"
         "      <allow_introspection_functions>0</allow_introspection_functions>\n"
         "      <storage_file_read_method>pread</storage_file_read_method>\n"
         "      <log_queries>0</log_queries>\n"
         "    </default>\n"
         "    <readonly><readonly>1</readonly></readonly>\n"
         "  </profiles>\n"
         "  <users>\n"
         "    <default>\n"
         "      <password></password>\n"
         "      <networks><ip>127.0.0.1</ip></networks>\n"
         "      <profile>default</profile>\n"
         "      <quota>default</quota>\n"
         "    </default>\n"
         "  </users>\n"
         "  <quotas><default/></quotas>\n"
         "</clickhouse>\n";

/* True when the file is there and is not one that an earlier start wrote. */
static bool is_foreign(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    char head[sizeof(MARK)] = "";
    size_t n = fread(head, 1, sizeof(MARK) - 1, f);
    (void)fclose(f); /* read only: nothing to lose */
    return n != sizeof(MARK) - 1 || memcmp(head, MARK, n) != 0;
}

static int write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}

static int replace_file(const char *dir, const char *name, struct slice text, struct err *e)
{
    char path[4096], temp[4096];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        snprintf(temp, sizeof(temp), "%s/%s.new", dir, name) >= (int)sizeof(temp))
        return err_set(e, -ENAMETOOLONG, "%s: the path is too long", dir);
    if (is_foreign(path))
        return 0;
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_errno(e, -errno, "cannot create %s", temp);
    int rc = write_all(fd, text);
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(temp, path) != 0)
        rc = -errno;
    return rc == 0 ? 0 : err_set_errno(e, rc, "cannot write %s", path);
}

int engine_write_config(const char *dir, struct err *e)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_set_errno(e, -errno, "cannot create the folder %s", dir);
    int rc = replace_file(dir, "config.xml", SLICE_LIT(config_text), e);
    return rc != 0 ? rc : replace_file(dir, "users.xml", SLICE_LIT(users_text), e);
}
