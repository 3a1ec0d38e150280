/* The result stream: one spelling for one answer. Little-endian throughout.
 *
 *   "BPIR" 0x01, u32 columns, { name, type }, { 0x01 row }, 0x00, u64 rows
 *   name, text: u32 length, bytes        value: 0x00 for NULL, else 0x01 and the value
 *
 * Types are one byte (see the table below), followed by width and scale, size, fields or element types. NaN has one
 * bit pattern. analytics.Decode is the reader. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "worker.h"

static unsigned char out[64 << 10];
static size_t out_len;
static uint64_t row_count;

static void flush_out(void) {
	for (size_t n = 0; n < out_len;) {
		ssize_t w = write(1, out + n, out_len - n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			fail(EXIT_LIMIT, "limit", -1, "the result cannot be written: it is over the output limit");
		n += (size_t)w;
	}
	out_len = 0;
}

static void put(const void *data, size_t len) {
	const unsigned char *p = data;
	while (len > 0) {
		size_t n = sizeof out - out_len;
		if (n > len)
			n = len;
		memcpy(out + out_len, p, n);
		out_len += n, p += n, len -= n;
		if (out_len == sizeof out)
			flush_out();
	}
}

static void put8(uint8_t v) { put(&v, 1); }
static void put32(uint32_t v) { put(&v, 4); }
static void put64(uint64_t v) { put(&v, 8); }

static void put_text(const void *data, size_t len) {
	if (len > UINT32_MAX)
		fail(EXIT_DATA, "runtime", -1, "a value of over 4 GiB");
	put32((uint32_t)len);
	put(data, len);
}

/* The stream's type byte, and the bytes of a value of fixed width whose memory is its encoding. */
enum {
	T_NULL = 0, T_BOOL = 1, T_I8 = 2, T_I16 = 3, T_I32 = 4, T_I64 = 5, T_I128 = 6, T_U8 = 7, T_U16 = 8, T_U32 = 9,
	T_U64 = 10, T_U128 = 11, T_F32 = 12, T_F64 = 13, T_DECIMAL = 14, T_TEXT = 15, T_BLOB = 16, T_BIT = 17, T_DATE = 18,
	T_TIME = 19, T_TIME_NS = 20, T_TIME_TZ = 21, T_TS = 22, T_TS_S = 23, T_TS_MS = 24, T_TS_NS = 25, T_TS_TZ = 26,
	T_INTERVAL = 27, T_UUID = 28, T_LIST = 29, T_ARRAY = 30, T_STRUCT = 31, T_MAP = 32, T_UNION = 33
};

static const struct {
	duckdb_type id;
	const char *name;
	uint8_t tag, width;
} types[] = {
    {DUCKDB_TYPE_SQLNULL, "NULL", T_NULL, 0}, {DUCKDB_TYPE_BOOLEAN, "BOOLEAN", T_BOOL, 1},
    {DUCKDB_TYPE_TINYINT, "TINYINT", T_I8, 1}, {DUCKDB_TYPE_SMALLINT, "SMALLINT", T_I16, 2},
    {DUCKDB_TYPE_INTEGER, "INTEGER", T_I32, 4}, {DUCKDB_TYPE_BIGINT, "BIGINT", T_I64, 8},
    {DUCKDB_TYPE_HUGEINT, "HUGEINT", T_I128, 16}, {DUCKDB_TYPE_UTINYINT, "UTINYINT", T_U8, 1},
    {DUCKDB_TYPE_USMALLINT, "USMALLINT", T_U16, 2}, {DUCKDB_TYPE_UINTEGER, "UINTEGER", T_U32, 4},
    {DUCKDB_TYPE_UBIGINT, "UBIGINT", T_U64, 8}, {DUCKDB_TYPE_UHUGEINT, "UHUGEINT", T_U128, 16},
    {DUCKDB_TYPE_FLOAT, "FLOAT", T_F32, 4}, {DUCKDB_TYPE_DOUBLE, "DOUBLE", T_F64, 8},
    {DUCKDB_TYPE_DECIMAL, "DECIMAL", T_DECIMAL, 0}, {DUCKDB_TYPE_VARCHAR, "VARCHAR", T_TEXT, 0},
    {DUCKDB_TYPE_ENUM, "ENUM", T_TEXT, 0}, {DUCKDB_TYPE_BLOB, "BLOB", T_BLOB, 0}, {DUCKDB_TYPE_BIT, "BIT", T_BIT, 0},
    {DUCKDB_TYPE_DATE, "DATE", T_DATE, 4}, {DUCKDB_TYPE_TIME, "TIME", T_TIME, 8},
    {DUCKDB_TYPE_TIME_NS, "TIME_NS", T_TIME_NS, 8}, {DUCKDB_TYPE_TIME_TZ, "TIME WITH TIME ZONE", T_TIME_TZ, 0},
    {DUCKDB_TYPE_TIMESTAMP, "TIMESTAMP", T_TS, 8}, {DUCKDB_TYPE_TIMESTAMP_S, "TIMESTAMP_S", T_TS_S, 8},
    {DUCKDB_TYPE_TIMESTAMP_MS, "TIMESTAMP_MS", T_TS_MS, 8}, {DUCKDB_TYPE_TIMESTAMP_NS, "TIMESTAMP_NS", T_TS_NS, 8},
    {DUCKDB_TYPE_TIMESTAMP_TZ, "TIMESTAMP WITH TIME ZONE", T_TS_TZ, 8}, {DUCKDB_TYPE_INTERVAL, "INTERVAL", T_INTERVAL, 16},
    {DUCKDB_TYPE_UUID, "UUID", T_UUID, 0}, {DUCKDB_TYPE_LIST, "LIST", T_LIST, 0}, {DUCKDB_TYPE_ARRAY, "ARRAY", T_ARRAY, 0},
    {DUCKDB_TYPE_STRUCT, "STRUCT", T_STRUCT, 0}, {DUCKDB_TYPE_MAP, "MAP", T_MAP, 0}, {DUCKDB_TYPE_UNION, "UNION", T_UNION, 0},
};

/* shape is a column's type, taken apart once, so that rows ask the engine nothing. */
typedef struct shape {
	duckdb_type id;
	uint8_t tag, width, scale;
	duckdb_type internal; /* of DECIMAL and ENUM */
	uint64_t size;        /* of ARRAY */
	uint32_t count;
	struct shape *children;
	char **names; /* of STRUCT and UNION fields; of ENUM values */
} shape;

static const char *column_name = "";

static shape take_apart(duckdb_logical_type type, int depth) {
	shape s = {.id = duckdb_get_type_id(type)};
	size_t i = 0;
	while (i < sizeof types / sizeof *types && types[i].id != s.id)
		i++;
	if (i == sizeof types / sizeof *types)
		fail(EXIT_BINDER, "binder", -1,
		     "column %.200s has a type that results do not carry; CAST it to another, such as VARCHAR", column_name);
	if (depth > 32)
		fail(EXIT_BINDER, "binder", -1, "column %.200s is nested over 32 deep", column_name);
	s.tag = types[i].tag;
	s.width = types[i].width;
	duckdb_logical_type child;
#define CHILDREN(n) (s.count = (uint32_t)(n), s.children = take(s.count * sizeof(shape)), s.names = take(s.count * sizeof(char *)))
#define CHILD(k, expression) (child = (expression), s.children[k] = take_apart(child, depth + 1), duckdb_destroy_logical_type(&child))
	switch (s.id) {
	case DUCKDB_TYPE_DECIMAL:
		s.width = duckdb_decimal_width(type);
		s.scale = duckdb_decimal_scale(type);
		s.internal = duckdb_decimal_internal_type(type);
		break;
	case DUCKDB_TYPE_ENUM:
		s.internal = duckdb_enum_internal_type(type);
		s.count = duckdb_enum_dictionary_size(type);
		s.names = take(s.count * sizeof(char *));
		for (uint32_t k = 0; k < s.count; k++)
			s.names[k] = duckdb_enum_dictionary_value(type, k);
		break;
	case DUCKDB_TYPE_LIST:
		CHILDREN(1);
		CHILD(0, duckdb_list_type_child_type(type));
		break;
	case DUCKDB_TYPE_ARRAY:
		CHILDREN(1);
		s.size = duckdb_array_type_array_size(type);
		CHILD(0, duckdb_array_type_child_type(type));
		break;
	case DUCKDB_TYPE_MAP:
		CHILDREN(2);
		CHILD(0, duckdb_map_type_key_type(type));
		CHILD(1, duckdb_map_type_value_type(type));
		break;
	case DUCKDB_TYPE_STRUCT:
		CHILDREN(duckdb_struct_type_child_count(type));
		for (uint32_t k = 0; k < s.count; k++) {
			s.names[k] = duckdb_struct_type_child_name(type, k);
			CHILD(k, duckdb_struct_type_child_type(type, k));
		}
		break;
	case DUCKDB_TYPE_UNION:
		CHILDREN(duckdb_union_type_member_count(type));
		for (uint32_t k = 0; k < s.count; k++) {
			s.names[k] = duckdb_union_type_member_name(type, k);
			CHILD(k, duckdb_union_type_member_type(type, k));
		}
		break;
	default:
		break;
	}
	return s;
}

static void put_type(const shape *s) {
	put8(s->tag);
	switch (s->tag) {
	case T_DECIMAL:
		put8(s->width);
		put8(s->scale);
		break;
	case T_ARRAY:
		put32((uint32_t)s->size);
		put_type(&s->children[0]);
		break;
	case T_LIST:
		put_type(&s->children[0]);
		break;
	case T_MAP:
		put_type(&s->children[0]);
		put_type(&s->children[1]);
		break;
	case T_STRUCT:
	case T_UNION:
		put32(s->count);
		for (uint32_t i = 0; i < s->count; i++) {
			put_text(s->names[i], strlen(s->names[i]));
			put_type(&s->children[i]);
		}
		break;
	}
}

static size_t integer_bytes(duckdb_type t) {
	switch (t) {
	case DUCKDB_TYPE_UTINYINT: return 1;
	case DUCKDB_TYPE_SMALLINT:
	case DUCKDB_TYPE_USMALLINT: return 2;
	case DUCKDB_TYPE_INTEGER:
	case DUCKDB_TYPE_UINTEGER: return 4;
	case DUCKDB_TYPE_BIGINT: return 8;
	default: return 16;
	}
}

/* put_bits writes a BIT as its digits: the engine's own form is padding length, then bits, the padding set. */
static void put_bits(const unsigned char *p, size_t len) {
	size_t pad = len > 0 ? p[0] : 0, bits = len > 1 ? (len - 1) * 8 - pad : 0;
	put32((uint32_t)bits);
	for (size_t i = 0; i < bits; i++) {
		size_t at = i + pad;
		put8((p[1 + at / 8] >> (7 - at % 8) & 1) ? '1' : '0');
	}
}

static void put_value(const shape *s, duckdb_vector v, uint64_t row) {
	uint64_t *valid = duckdb_vector_get_validity(v);
	if (s->tag == T_NULL || (valid != NULL && !(valid[row / 64] >> (row % 64) & 1))) {
		put8(0);
		return;
	}
	put8(1);
	unsigned char *data = duckdb_vector_get_data(v);
	switch (s->id) {
	case DUCKDB_TYPE_BOOLEAN:
		put8(data[row] != 0);
		break;
	case DUCKDB_TYPE_FLOAT: {
		float f = ((float *)data)[row];
		uint32_t bits = 0x7fc00000;
		if (f == f)
			memcpy(&bits, &f, 4);
		put32(bits);
		break;
	}
	case DUCKDB_TYPE_DOUBLE: {
		double f = ((double *)data)[row];
		uint64_t bits = 0x7ff8000000000000ULL;
		if (f == f)
			memcpy(&bits, &f, 8);
		put64(bits);
		break;
	}
	case DUCKDB_TYPE_DECIMAL: {
		size_t n = integer_bytes(s->internal);
		put(data + n * row, n);
		break;
	}
	case DUCKDB_TYPE_ENUM: {
		size_t n = integer_bytes(s->internal);
		uint32_t index = 0;
		memcpy(&index, data + n * row, n);
		put_text(s->names[index], strlen(s->names[index]));
		break;
	}
	case DUCKDB_TYPE_VARCHAR:
	case DUCKDB_TYPE_BLOB: {
		duckdb_string_t *t = (duckdb_string_t *)data + row;
		put_text(duckdb_string_t_data(t), duckdb_string_t_length(*t));
		break;
	}
	case DUCKDB_TYPE_BIT: {
		duckdb_string_t *t = (duckdb_string_t *)data + row;
		put_bits((const unsigned char *)duckdb_string_t_data(t), duckdb_string_t_length(*t));
		break;
	}
	case DUCKDB_TYPE_TIME_TZ: {
		duckdb_time_tz_struct t = duckdb_from_time_tz(((duckdb_time_tz *)data)[row]);
		put64((uint64_t)((((int64_t)t.time.hour * 60 + t.time.min) * 60 + t.time.sec) * 1000000 + t.time.micros));
		put32((uint32_t)t.offset);
		break;
	}
	case DUCKDB_TYPE_UUID: {
		duckdb_hugeint h = ((duckdb_hugeint *)data)[row];
		uint64_t halves[2] = {(uint64_t)h.upper ^ 1ULL << 63, h.lower};
		for (int i = 0; i < 2; i++)
			for (int b = 56; b >= 0; b -= 8)
				put8((uint8_t)(halves[i] >> b));
		break;
	}
	case DUCKDB_TYPE_LIST:
	case DUCKDB_TYPE_MAP: {
		duckdb_list_entry e = ((duckdb_list_entry *)data)[row];
		duckdb_vector child = duckdb_list_vector_get_child(v);
		put32((uint32_t)e.length);
		for (uint64_t i = 0; i < e.length; i++) {
			if (s->id == DUCKDB_TYPE_LIST) {
				put_value(&s->children[0], child, e.offset + i);
				continue;
			}
			put_value(&s->children[0], duckdb_struct_vector_get_child(child, 0), e.offset + i);
			put_value(&s->children[1], duckdb_struct_vector_get_child(child, 1), e.offset + i);
		}
		break;
	}
	case DUCKDB_TYPE_ARRAY: {
		duckdb_vector child = duckdb_array_vector_get_child(v);
		for (uint64_t i = 0; i < s->size; i++)
			put_value(&s->children[0], child, row * s->size + i);
		break;
	}
	case DUCKDB_TYPE_STRUCT:
		for (uint32_t i = 0; i < s->count; i++)
			put_value(&s->children[i], duckdb_struct_vector_get_child(v, i), row);
		break;
	case DUCKDB_TYPE_UNION: {
		uint8_t *tags = duckdb_vector_get_data(duckdb_struct_vector_get_child(v, 0));
		put8(tags[row]);
		put_value(&s->children[tags[row]], duckdb_struct_vector_get_child(v, tags[row] + 1u), row);
		break;
	}
	default:
		put(data + (size_t)s->width * row, s->width);
	}
}

static shape *shapes;
static uint32_t shape_count;

/* stream_schema writes the head of the stream. */
void stream_schema(duckdb_result *result) {
	shape_count = (uint32_t)duckdb_column_count(result);
	shapes = take(shape_count * sizeof *shapes);
	for (uint32_t i = 0; i < shape_count; i++) {
		column_name = duckdb_column_name(result, i);
		duckdb_logical_type type = duckdb_column_logical_type(result, i);
		shapes[i] = take_apart(type, 0);
		duckdb_destroy_logical_type(&type);
	}
	put("BPIR\x01", 5);
	put32(shape_count);
	for (uint32_t i = 0; i < shape_count; i++) {
		const char *name = duckdb_column_name(result, i);
		put_text(name, strlen(name));
		put_type(&shapes[i]);
	}
}

/* stream_rows writes every row of a streaming result. It ends the process when the engine fails on the way. */
void stream_rows(duckdb_result *result, const char *sql) {
	for (;;) {
		duckdb_data_chunk chunk = duckdb_fetch_chunk(*result);
		if (chunk == NULL)
			break;
		uint64_t n = duckdb_data_chunk_get_size(chunk);
		if (n == 0) {
			duckdb_destroy_data_chunk(&chunk);
			break;
		}
		for (uint64_t row = 0; row < n; row++) {
			put8(1);
			for (uint32_t i = 0; i < shape_count; i++)
				put_value(&shapes[i], duckdb_data_chunk_get_vector(chunk, i), row);
		}
		row_count += n;
		duckdb_destroy_data_chunk(&chunk);
	}
	const char *error = duckdb_result_error(result);
	if (error != NULL && error[0] != 0)
		fail_engine(error, sql);
}

/* stream_text_schema begins a stream whose columns are all VARCHAR: what check and sniff answer with. */
void stream_text_schema(const char *const *names, uint32_t count) {
	put("BPIR\x01", 5);
	put32(count);
	for (uint32_t i = 0; i < count; i++) {
		put_text(names[i], strlen(names[i]));
		put8(T_TEXT);
	}
}

void stream_text_row(const char *const *values, uint32_t count) {
	put8(1);
	for (uint32_t i = 0; i < count; i++) {
		put8(values[i] != NULL);
		if (values[i] != NULL)
			put_text(values[i], strlen(values[i]));
	}
	row_count++;
}

void stream_end(void) {
	put8(0);
	put64(row_count);
	flush_out();
}

/* type_text spells a type as SQL does; NULL when results do not carry it. */
char *type_text(duckdb_logical_type type) {
	duckdb_type id = duckdb_get_type_id(type);
	text t = {0};
	duckdb_logical_type child, value;
	switch (id) {
	case DUCKDB_TYPE_DECIMAL:
		add(&t, "DECIMAL(%u,%u)", duckdb_decimal_width(type), duckdb_decimal_scale(type));
		return t.data;
	case DUCKDB_TYPE_LIST:
		child = duckdb_list_type_child_type(type);
		add(&t, "%s[]", type_text(child));
		return t.data;
	case DUCKDB_TYPE_ARRAY:
		child = duckdb_array_type_child_type(type);
		add(&t, "%s[%llu]", type_text(child), (unsigned long long)duckdb_array_type_array_size(type));
		return t.data;
	case DUCKDB_TYPE_MAP:
		child = duckdb_map_type_key_type(type);
		value = duckdb_map_type_value_type(type);
		add(&t, "MAP(%s, %s)", type_text(child), type_text(value));
		return t.data;
	case DUCKDB_TYPE_STRUCT:
		add(&t, "STRUCT(");
		for (idx_t i = 0; i < duckdb_struct_type_child_count(type); i++) {
			child = duckdb_struct_type_child_type(type, i);
			add(&t, "%s", i > 0 ? ", " : "");
			add_name(&t, duckdb_struct_type_child_name(type, i));
			add(&t, " %s", type_text(child));
		}
		add(&t, ")");
		return t.data;
	default:
		for (size_t i = 0; i < sizeof types / sizeof *types; i++)
			if (types[i].id == id)
				return take_string(types[i].name, strlen(types[i].name));
		return take_string("UNKNOWN", 7);
	}
}
