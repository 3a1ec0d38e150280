/* A scanner for the JSON that the engine itself writes: its syntax trees and its errors. It is iterative, so that depth
 * costs no stack. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "worker.h"

enum { MAX_DEPTH = 1 << 16 };

static int hex4(const char *p, unsigned *out) {
	unsigned v = 0;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		if (c >= '0' && c <= '9')
			v = v << 4 | (unsigned)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v << 4 | (unsigned)((c | 32) - 'a' + 10);
		else
			return 0;
	}
	*out = v;
	return 1;
}

static void put_utf8(text *t, unsigned c) {
	unsigned char b[4];
	if (c < 0x80) {
		b[0] = (unsigned char)c;
		add_bytes(t, b, 1);
	} else if (c < 0x800) {
		b[0] = (unsigned char)(0xc0 | c >> 6), b[1] = (unsigned char)(0x80 | (c & 63));
		add_bytes(t, b, 2);
	} else if (c < 0x10000) {
		b[0] = (unsigned char)(0xe0 | c >> 12), b[1] = (unsigned char)(0x80 | (c >> 6 & 63)),
		b[2] = (unsigned char)(0x80 | (c & 63));
		add_bytes(t, b, 3);
	} else {
		b[0] = (unsigned char)(0xf0 | c >> 18), b[1] = (unsigned char)(0x80 | (c >> 12 & 63)),
		b[2] = (unsigned char)(0x80 | (c >> 6 & 63)), b[3] = (unsigned char)(0x80 | (c & 63));
		add_bytes(t, b, 4);
	}
}

/* unquote reads a string whose opening quote has been read, and leaves *p behind the closing one. NULL: malformed. */
static char *unquote(const char **p) {
	text t = {0};
	add_bytes(&t, "", 0);
	for (const char *s = *p;; s++) {
		if (*s == 0)
			return NULL;
		if (*s == '"') {
			*p = s + 1;
			return t.data;
		}
		if (*s != '\\') {
			add_bytes(&t, s, 1);
			continue;
		}
		s++;
		unsigned c, low;
		switch (*s) {
		case 'n': add_bytes(&t, "\n", 1); break;
		case 't': add_bytes(&t, "\t", 1); break;
		case 'r': add_bytes(&t, "\r", 1); break;
		case 'b': add_bytes(&t, "\b", 1); break;
		case 'f': add_bytes(&t, "\f", 1); break;
		case 'u':
			if (!hex4(s + 1, &c))
				return NULL;
			s += 4;
			if (c >= 0xd800 && c < 0xdc00 && s[1] == '\\' && s[2] == 'u' && hex4(s + 3, &low)) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				s += 6;
			}
			put_utf8(&t, c);
			break;
		case 0: return NULL;
		default: add_bytes(&t, s, 1);
		}
	}
}

/* json_scan walks one value. events->text is called for every string and bare word (numbers, true, null) with the key
 * it stands under, which is the enclosing array's when it is an element; events->close before a container is left, its
 * frame being stack[depth-1]. Returns 0 for malformed or too deep JSON: the caller must then refuse. */
int json_scan(const char *json, const json_events *events) {
	size_t cap = 64, depth = 0;
	frame *stack = take(cap * sizeof *stack);
	const char *key = "";
	size_t key_len = 0;
	for (const char *p = json; *p != 0;) {
		char c = *p;
		if (c == '{' || c == '[') {
			if (depth == MAX_DEPTH)
				return 0;
			if (depth == cap) {
				stack = realloc(stack, 2 * cap * sizeof *stack);
				if (stack == NULL)
					return 0;
				cap *= 2;
			}
			frame *f = &stack[depth++];
			memset(f, 0, sizeof *f);
			f->kind = c;
			f->key = key;
			f->key_len = key_len;
			f->position = -1;
			if (c == '{')
				key = "", key_len = 0;
			p++;
		} else if (c == '}' || c == ']') {
			if (depth == 0 || stack[depth - 1].kind != (c == '}' ? '{' : '['))
				return 0;
			if (events->close != NULL)
				events->close(events->context, stack, depth);
			depth--;
			if (depth > 0 && stack[depth - 1].kind == '[')
				key = stack[depth - 1].key, key_len = stack[depth - 1].key_len;
			p++;
			if (depth == 0)
				return 1;
		} else if (c == '"') {
			const char *start = ++p;
			char *value = unquote(&p);
			if (value == NULL)
				return 0;
			const char *after = p;
			while (*after == ' ')
				after++;
			if (*after == ':' && depth > 0 && stack[depth - 1].kind == '{') {
				key = start;
				key_len = (size_t)(p - 1 - start);
				p = after + 1;
				free(value);
			} else {
				events->text(events->context, stack, depth, key, key_len, value);
			}
		} else if (c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r') {
			p++;
		} else {
			size_t n = strcspn(p, ",]} \n\t\r");
			if (n == 0)
				return 0;
			events->text(events->context, stack, depth, key, key_len, take_string(p, n));
			p += n;
		}
	}
	return 0;
}

struct wanted {
	const char *key;
	char *value;
};

static void top_field(void *context, frame *stack, size_t depth, const char *key, size_t key_len, char *value) {
	struct wanted *w = context;
	(void)stack;
	if (depth == 1 && w->value == NULL && strlen(w->key) == key_len && memcmp(w->key, key, key_len) == 0)
		w->value = value;
}

/* json_field gives the text of a field of the outermost object, or NULL. */
char *json_field(const char *json, const char *key) {
	struct wanted w = {key, NULL};
	json_events events = {&w, top_field, NULL};
	json_scan(json, &events);
	return w.value;
}
