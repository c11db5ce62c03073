#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs Debian's clickhouse-server 18.16 (apt-get install clickhouse-server) in the foreground.
# usage: run18.sh DIR TCP_PORT HTTP_PORT     (DIR must be absolute; data stays there)
# CH18_ZONE: the server's time zone (UTC)
set -eu
d=$1; mkdir -p "$d/data" "$d/tmp" "$d/log"
cat >"$d/config.xml" <<X
<yandex>
  <logger><level>warning</level><log>$d/log/server.log</log><errorlog>$d/log/error.log</errorlog></logger>
  <http_port>$3</http_port><tcp_port>$2</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>$d/data/</path><tmp_path>$d/tmp/</tmp_path><timezone>${CH18_ZONE:-UTC}</timezone>
  <mark_cache_size>67108864</mark_cache_size>
  <users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
</yandex>
X
cat >"$d/users.xml" <<X
<yandex>
  <profiles>
    <default><allow_experimental_low_cardinality_type>1</allow_experimental_low_cardinality_type></default>
    <readonly><readonly>1</readonly></readonly>
  </profiles>
  <users>
    <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
    <writer><password>secret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer>
    <ro><password>ro</password><networks><ip>127.0.0.1</ip></networks><profile>readonly</profile><quota>default</quota></ro>
  </users>
  <quotas><default/></quotas>
</yandex>
X
cd "$d"; exec clickhouse-server --config-file="$d/config.xml"
