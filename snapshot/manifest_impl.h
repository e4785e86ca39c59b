/* SPDX-License-Identifier: MIT */
/* JSON from untrusted files: each getter says -EINVAL unless the field is there and fits. */
#ifndef SNAPSHOT_MANIFEST_IMPL_H
#define SNAPSHOT_MANIFEST_IMPL_H

#include <json-c/json.h>

#include "snapshot/store.h"
#include "snapshot/volume.h"

/* An object of the format and version; json_object_put by the caller. -EINVAL, -EPROTONOSUPPORT. */
int manifest_parse(const char *text, size_t size, const char *format, struct json_object **out);
/* An object with format and version filled in; NULL: no memory. */
struct json_object *manifest_new(const char *format);

bool manifest_has(struct json_object *object, const char *key);
/* `lines`: line ends are allowed; no other control characters. */
int manifest_string(struct json_object *object, const char *key, bool lines, char *out,
		    size_t size);
int manifest_name(struct json_object *object, const char *key, char *out);
int manifest_number(struct json_object *object, const char *key, uint64_t low, uint64_t high,
		    uint64_t *out);
int manifest_id(struct json_object *object, const char *key, struct store_id *out);
/* Missing: *has is false. */
int manifest_id_if(struct json_object *object, const char *key, bool *has, struct store_id *out);
/* An array of ids, none of them twice. */
int manifest_ids(struct json_object *object, const char *key, unsigned low,
		 struct store_id out[STORE_LAYERS_MAX], unsigned *count);
/* "base", if there is one. */
int manifest_base(struct json_object *object, struct volume_base *out);
int manifest_digest(struct json_object *object, const char *key, uint8_t out[STORE_DIGEST]);

/* 0 or -ENOMEM; take `value` over, NULL included. */
int manifest_add(struct json_object *object, const char *key, struct json_object *value);
int manifest_add_string(struct json_object *object, const char *key, const char *value);
int manifest_add_number(struct json_object *object, const char *key, uint64_t value);
int manifest_add_id(struct json_object *object, const char *key, const struct store_id *id);
int manifest_add_ids(struct json_object *object, const char *key, const struct store_id *ids,
		     unsigned count);
int manifest_add_base(struct json_object *object, const struct volume_base *base);
int manifest_add_digest(struct json_object *object, const char *key,
			const uint8_t digest[STORE_DIGEST]);
/* The text, malloc'ed. */
int manifest_text(struct json_object *object, char **text, size_t *size);

#endif
