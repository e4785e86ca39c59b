/* SPDX-License-Identifier: MIT */
/* What volumes' and roots' manifests have in common. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/manifest_impl.h"

#define VERSION   1
#define DEPTH_MAX 16

/* One object, and nothing behind it but white space. */
static struct json_object *text_parse(struct json_tokener *tokener, const char *text, size_t size)
{
	struct json_object *object;

	if (!size || size > INT32_MAX || memchr(text, 0, size))
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, (int)size);
	for (size_t i = json_tokener_get_parse_end(tokener); i < size; i++)
		if (!strchr(" \t\r\n", text[i])) {
			json_object_put(object);
			return NULL;
		}
	return object;
}

int manifest_parse(const char *text, size_t size, const char *format, struct json_object **out)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *object;
	char name[32];
	uint64_t version;
	int ret = -EINVAL;

	if (!tokener)
		return -ENOMEM;
	object = text_parse(tokener, text, size);
	json_tokener_free(tokener);
	if (!object || !json_object_is_type(object, json_type_object))
		goto fail;
	if (manifest_string(object, "format", false, name, sizeof(name)) ||
	    strcmp(name, format) != 0 || manifest_number(object, "version", 1, INT64_MAX, &version))
		goto fail;
	if (version != VERSION) {
		ret = -EPROTONOSUPPORT;
		goto fail;
	}
	*out = object;
	return 0;
fail:
	json_object_put(object);
	return ret;
}

struct json_object *manifest_new(const char *format)
{
	struct json_object *object = json_object_new_object();

	if (object && manifest_add_string(object, "format", format) == 0 &&
	    manifest_add_number(object, "version", VERSION) == 0)
		return object;
	json_object_put(object);
	return NULL;
}

bool manifest_has(struct json_object *object, const char *key)
{
	return json_object_object_get_ex(object, key, NULL);
}

static struct json_object *typed(struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(object, key, &value);
	return json_object_is_type(value, type) ? value : NULL;
}

int manifest_string(struct json_object *object, const char *key, bool lines, char *out, size_t size)
{
	struct json_object *value = typed(object, key, json_type_string);
	const char *text = value ? json_object_get_string(value) : NULL;
	size_t length = value ? (size_t)json_object_get_string_len(value) : 0;

	if (!text || length >= size || strlen(text) != length)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < ' ' && !(lines && c == '\n')) || c == 0x7f)
			return -EINVAL;
	}
	memcpy(out, text, length + 1);
	return 0;
}

int manifest_name(struct json_object *object, const char *key, char *out)
{
	int ret = manifest_string(object, key, false, out, TEXT_NAME_MAX + 1);

	return ret == 0 && !text_is_name(out) ? -EINVAL : ret;
}

int manifest_number(struct json_object *object, const char *key, uint64_t low, uint64_t high,
		    uint64_t *out)
{
	struct json_object *value = typed(object, key, json_type_int);
	int64_t number = value ? json_object_get_int64(value) : -1;

	if (number < 0 || (uint64_t)number < low || (uint64_t)number > high)
		return -EINVAL;
	*out = (uint64_t)number;
	return 0;
}

int manifest_id(struct json_object *object, const char *key, struct store_id *out)
{
	char text[STORE_ID_TEXT];
	int ret = manifest_string(object, key, false, text, sizeof(text));

	return ret ? ret : store_id_parse(text, out);
}

int manifest_id_if(struct json_object *object, const char *key, bool *has, struct store_id *out)
{
	*has = manifest_has(object, key);
	return *has ? manifest_id(object, key, out) : 0;
}

int manifest_ids(struct json_object *object, const char *key, unsigned low,
		 struct store_id out[STORE_LAYERS_MAX], unsigned *count)
{
	struct json_object *array = typed(object, key, json_type_array);
	size_t length = array ? json_object_array_length(array) : 0;

	if (!array || length < low || length > STORE_LAYERS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		struct json_object *item = json_object_array_get_idx(array, i);

		if (!json_object_is_type(item, json_type_string) ||
		    store_id_parse(json_object_get_string(item), &out[i]))
			return -EINVAL;
		for (size_t j = 0; j < i; j++)
			if (store_id_equal(&out[i], &out[j]))
				return -EINVAL;
	}
	*count = (unsigned)length;
	return 0;
}

int manifest_base(struct json_object *object, struct volume_base *out)
{
	struct json_object *base;

	memset(out, 0, sizeof(*out));
	if (!manifest_has(object, "base"))
		return 0;
	base = typed(object, "base", json_type_object);
	if (!base || manifest_string(base, "path", false, out->path, sizeof(out->path)) ||
	    manifest_string(base, "format", false, out->format, sizeof(out->format)))
		return -EINVAL;
	/* It opens a file of the host: nothing relative. */
	return out->path[0] == '/' && out->format[0] ? 0 : -EINVAL;
}

int manifest_digest(struct json_object *object, const char *key, uint8_t out[STORE_DIGEST])
{
	char text[STORE_DIGEST_TEXT];
	int ret = manifest_string(object, key, false, text, sizeof(text));

	return ret ? ret : store_digest_parse(text, out);
}

int manifest_add(struct json_object *object, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(object, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

int manifest_add_string(struct json_object *object, const char *key, const char *value)
{
	return manifest_add(object, key, json_object_new_string(value));
}

int manifest_add_number(struct json_object *object, const char *key, uint64_t value)
{
	return manifest_add(object, key, json_object_new_int64((int64_t)value));
}

int manifest_add_id(struct json_object *object, const char *key, const struct store_id *id)
{
	char text[STORE_ID_TEXT];

	store_id_text(id, text);
	return manifest_add_string(object, key, text);
}

int manifest_add_ids(struct json_object *object, const char *key, const struct store_id *ids,
		     unsigned count)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; array && i < count; i++) {
		char text[STORE_ID_TEXT];
		struct json_object *item;

		store_id_text(&ids[i], text);
		item = json_object_new_string(text);
		if (item && json_object_array_add(array, item) == 0)
			continue;
		json_object_put(item);
		json_object_put(array);
		return -ENOMEM;
	}
	return manifest_add(object, key, array);
}

int manifest_add_base(struct json_object *object, const struct volume_base *base)
{
	struct json_object *value;

	if (!base->path[0])
		return 0;
	value = json_object_new_object();
	if (!value)
		return -ENOMEM;
	if (manifest_add_string(value, "path", base->path) ||
	    manifest_add_string(value, "format", base->format)) {
		json_object_put(value);
		return -ENOMEM;
	}
	return manifest_add(object, "base", value);
}

int manifest_add_digest(struct json_object *object, const char *key,
			const uint8_t digest[STORE_DIGEST])
{
	char text[STORE_DIGEST_TEXT];

	store_digest_text(digest, text);
	return manifest_add_string(object, key, text);
}

int manifest_text(struct json_object *object, char **text, size_t *size)
{
	const char *content = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);

	*text = content ? strdup(content) : NULL;
	if (!*text)
		return -ENOMEM;
	*size = strlen(*text);
	return 0;
}
