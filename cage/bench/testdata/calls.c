/* calls.c: makes one emulated call again and again. */
#include <stdlib.h>
#include <sys/utsname.h>

int main(int argc, char **argv)
{
	struct utsname u;
	for (long n = argc > 1 ? atol(argv[1]) : 1; n > 0; n--)
		if (uname(&u))
			return 1;
	return 0;
}
