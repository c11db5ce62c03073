/* SPDX-License-Identifier: Apache-2.0 */
/* Letters (dead ones, and rows that are held) by HTTP (http-api §13), within src/api. */
#ifndef WH_API_OPS_DLQ_H
#define WH_API_OPS_DLQ_H

#include "api/api_priv.h"
#include "api/ops_ask.h"

/* The shelf by its name in `shelf`: dead, unless it says held. */
enum store_shelf ops_shelf(struct ops_ask *q);
/* The id in the path. False: it is none, answered with 404. */
bool ops_letter_id(struct api_loop *a, struct http_request *r, struct store_letter_id *id);
/* dlq.enabled is false: answered with 404 as http-api §13 says, and false. */
bool ops_dlq_enabled(struct api_loop *a, struct http_request *r);

#endif
