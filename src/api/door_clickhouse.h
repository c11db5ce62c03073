/* SPDX-License-Identifier: Apache-2.0 */
/* What the loop needs of ClickHouse's door beyond its struct ingest_door. */
#ifndef WH_API_DOOR_CLICKHOUSE_H
#define WH_API_DOOR_CLICKHOUSE_H

#include "api/api_priv.h"

/* GET / without a query and GET /ping: "Ok."; GET /?query=… is refused, there are no reads here. */
void door_clickhouse_get(struct api_loop *a, struct http_request *r);
void door_clickhouse_ping(struct api_loop *a, struct http_request *r);

/* Its scratch memory. */
void door_clickhouse_shrink(struct api_loop *a);
void door_clickhouse_free(struct api_loop *a);

#endif
