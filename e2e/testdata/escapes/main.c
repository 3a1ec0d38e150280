/* main: finds the attempt named by its argument. Outside of a cage nothing is tried. */
#include "escape.h"
#include <sys/utsname.h>

static int successes, tries;

static void say(const char *word, const char *format, va_list args)
{
	printf("%s: ", word);
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
}
void held(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say("held", format, args);
	va_end(args);
	_exit(successes ? 1 : 0);
}
void escaped(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say("ESCAPED", format, args);
	va_end(args);
	_exit(1);
}
void note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say("tried", format, args);
	va_end(args);
	tries++;
}
void got(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say("ESCAPED", format, args);
	va_end(args);
	successes++;
}
long refused(const char *what, long r)
{
	if (r >= 0)
		got("%s gave %ld", what, r);
	else
		note("%s: %s", what, strerrorname_np(errno));
	return r;
}
void done(void)
{
	if (successes || tries == 0)
		escaped("%d of %d tries", successes, tries);
	held("%d tries", tries);
}

const char *canary(const char *name)
{
	char full[64];
	snprintf(full, sizeof full, "CANARY_%s", name);
	const char *v = getenv(full);
	if (!v)
		escaped("the test did not say where %s is", full);
	return v;
}
int holds_canary(int fd)
{
	char b[256] = "";
	ssize_t n = pread(fd, b, sizeof b - 1, 0);
	return n > 0 && strstr(b, "this is the canary") != NULL;
}
void opened(const char *what, int fd)
{
	if (fd < 0) {
		note("%s: %s", what, strerrorname_np(errno));
		return;
	}
	if (holds_canary(fd))
		got("%s is the file outside", what);
	else
		note("%s: something else", what);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct attempt *const tables[] = {kernel_attempts, process_attempts, file_attempts, output_attempts, net_attempts, flood_attempts,
						       machine_attempts, race_attempts};
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct attempt *a = tables[i]; a->name; a++)
			if (argc == 2 && strcmp(argv[1], "list") == 0) {
				printf("%s\n", a->name);
			} else if (argc == 2 && strcmp(argv[1], a->name) == 0) {
				struct utsname u;
				if (uname(&u) != 0 || strcmp(u.nodename, "cage") != 0 || getpid() > 100) {
					fprintf(stderr, "this is no cage: nothing is tried\n");
					return 99;
				}
				a->run();
				done();
			}
	return argc == 2 && strcmp(argv[1], "list") == 0 ? 0 : 98;
}
