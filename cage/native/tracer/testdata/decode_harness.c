/* decode_harness.c: what decode.c and places.c say, for tracer_decode_test.go.
 *
 *   decode_harness lengths < INPUT   INPUT: u32 n, n bytes of code, then offsets (u32 each) of instructions in it.
 *                                    Writes the length of each as a byte, 0 for "none".
 *   decode_harness places FILE       The offsets in an ELF file of the instructions that would be replaced, a line each; status 3 if it is none. */
#include "../code.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void trouble(const char *what) __attribute__((noreturn));
void trouble(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t *read_all(FILE *f, size_t *n)
{
	size_t cap = 1 << 20;
	uint8_t *b = malloc(cap);
	*n = 0;
	for (size_t got; b && (got = fread(b + *n, 1, cap - *n, f)) > 0;) {
		*n += got;
		if (*n == cap)
			b = realloc(b, cap *= 2);
	}
	if (!b)
		trouble("memory");
	return b;
}

static int lengths(void)
{
	size_t n;
	uint32_t code_n, at;
	uint8_t *b = read_all(stdin, &n);
	if (n < 4 || (memcpy(&code_n, b, 4), code_n > n - 4))
		return 2;
	for (size_t i = 4ul + code_n; i + 4 <= n; i += 4) {
		struct insn in;
		memcpy(&at, b + i, 4);
		if (at >= code_n)
			return 2;
		putchar(decode(b + 4 + at, code_n - at, &in) ? in.length : 0);
	}
	free(b);
	return 0;
}

static int places(const char *name)
{
	size_t n;
	struct file_places found = {0};
	FILE *f = fopen(name, "rb");
	if (!f)
		trouble(name);
	uint8_t *b = read_all(f, &n);
	fclose(f);
	bool elf = find_in_file(b, n, &found);
	for (size_t i = 0; i < found.places.n; i++)
		printf("%llx %02x\n", (unsigned long long)found.places.p[i].at, found.places.p[i].was);
	free(found.places.p);
	free(b);
	return elf ? 0 : 3;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "lengths"))
		return lengths();
	if (argc == 3 && !strcmp(argv[1], "places"))
		return places(argv[2]);
	return 2;
}
