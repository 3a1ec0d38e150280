/* auxv: what the kernel tells a program at its start, the environment, the folder, limits and descriptors it inherits. */
#include "strict.h"
#include <elf.h>
#include <dirent.h>
#include <sys/auxv.h>
#include <sys/resource.h>

int main(int argc, char **argv, char **envp)
{
	for (int i = 1; i < argc; i++)
		printf("arg %s\n", argv[i]);
	char **e = envp;
	for (; *e; e++)
		printf("env %s\n", *e);
	Elf64_auxv_t *a = (Elf64_auxv_t *)(e + 1);
	for (; a->a_type != AT_NULL; a++) {
		printf("auxv %lu: %lx\n", (unsigned long)a->a_type, (unsigned long)a->a_un.a_val);
		if (a->a_type == AT_RANDOM) {
			const unsigned char *r = (void *)a->a_un.a_val;
			int sum = 0;
			printf("random");
			for (int i = 0; i < 16; i++)
				printf(" %02x", r[i]), sum |= r[i];
			printf("\n");
			WANT(sum != 0, "AT_RANDOM is zero");
		}
		if (a->a_type == AT_PLATFORM || a->a_type == AT_EXECFN)
			printf("text %s\n", (char *)a->a_un.a_val);
	}
	WANT(getauxval(AT_PAGESZ) == 4096 && getauxval(AT_CLKTCK) == 100, "page %lu, ticks %lu", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK));
	WANT(getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid() && getauxval(AT_SECURE) == 0, "ids of auxv are not the caller's");
	char cwd[4096];
	MUST(getcwd(cwd, sizeof cwd), "getcwd");
	mode_t mask = umask(022);
	printf("cwd %s umask %o\n", cwd, mask);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit l;
		MUST(getrlimit(i, &l) == 0, "getrlimit");
		printf("limit %d: %lx %lx\n", i, (unsigned long)l.rlim_cur, (unsigned long)l.rlim_max);
		WANT(l.rlim_cur <= l.rlim_max, "limit %d is over its own bound", i);
	}
	printf("fds:");
	for (int i = 0; i < 100; i++)
		if (fcntl(i, F_GETFD) >= 0)
			printf(" %d:%x", i, (unsigned)fcntl(i, F_GETFL));
	printf("\ntty: %d %d %d\n", isatty(0), isatty(1), isatty(2));
	sigset_t set;
	MUST(sigprocmask(SIG_BLOCK, NULL, &set) == 0, "sigprocmask");
	printf("signals:");
	for (int i = 1; i < 65; i++) {
		struct sigaction s;
		if (sigismember(&set, i) == 1)
			printf(" blocked %d", i);
		if (sigaction(i, NULL, &s) == 0 && s.sa_handler == SIG_IGN)
			printf(" ignored %d", i);
	}
	printf("\nids %u %u %u %u session %d group %d\n", getuid(), geteuid(), getgid(), getegid(), getsid(0) > 0, getpgid(0) > 0);
	return SENSIBLE();
}
