/* spin: waits that never ask the kernel: "thread" for a word that another thread would set, if it got to run; "loop" for
 * nothing at all; "yield" asks the kernel to let others run, "tsc" the processor how late it is, and so both come to an
 * end. */
#include "strict.h"

static volatile int set;
static void *setter(void *arg)
{
	rest(1);
	set = 1;
	return arg;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t t;
	if (strcmp(what, "loop") == 0)
		for (;;)
			work(1000000);
	MUST(pthread_create(&t, NULL, setter, NULL) == 0, "pthread_create");
	long turns = 0;
	while (!set) {
		if (strcmp(what, "yield") == 0)
			sched_yield();
		else if (strcmp(what, "tsc") == 0)
			__builtin_ia32_rdtsc();
		turns++;
	}
	pthread_join(t, NULL);
	printf("set after %ld turns\n", strcmp(what, "thread") == 0 ? 0 : turns);
	return SENSIBLE();
}
