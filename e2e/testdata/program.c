/* What the images of these tests hold: a program that says what it sees, and that ends as it is told to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int copy(const char *from, const char *to)
{
	char b[4096];
	size_t n;
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");

	if (!in || !out)
		return perror(in ? to : from), 1;
	while ((n = fread(b, 1, sizeof b, in)) > 0)
		if (fwrite(b, 1, n, out) != n)
			return perror(to), 1;
	return fclose(out) != 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct timespec now;
	unsigned long dice;

	if (!strcmp(what, "see")) {
		clock_gettime(CLOCK_REALTIME, &now);
		if (getrandom(&dice, sizeof dice, 0) != sizeof dice)
			return 9;
		printf("%lld.%09ld %016lx %d %s\n", (long long)now.tv_sec, now.tv_nsec, dice, getpid(), getenv("GREETING") ? getenv("GREETING") : "-");
		return 0;
	}
	if (!strcmp(what, "copy") && argc == 4)
		return copy(argv[2], argv[3]);
	if (!strcmp(what, "cat") && argc == 3)
		return copy(argv[2], "/dev/stdout");
	if (!strcmp(what, "fail") && argc == 3) {
		fprintf(stderr, "as told\n");
		return atoi(argv[2]);
	}
	if (!strcmp(what, "ask")) {
		for (;;)
			getppid();
	}
	fprintf(stderr, "usage\n");
	return 64;
}
