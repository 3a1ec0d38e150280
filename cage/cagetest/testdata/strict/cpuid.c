/* cpuid: what the processor says of itself, from ordinary code and from code made at run time, and what the compiler's
 * and the library's own tests make of it. Bytes that only look like the instruction must stay what they are. */
#include "strict.h"

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

/* push rbx; mov eax,edi; xor ecx,ecx; cpuid; mov eax,ecx; pop rbx; ret */
static const unsigned char code[] = {0x53, 0x89, 0xf8, 0x31, 0xc9, 0x0f, 0xa2, 0x89, 0xc8, 0x5b, 0xc3};
static uint32_t call(unsigned char *p) { return ((uint32_t (*)(uint32_t))(uintptr_t)p)(1); }

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	_exit(40);
}

/* Memory in which code is written where it runs, as compilers at run time have it. */
static void written(uint32_t want)
{
	unsigned char *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(p != MAP_FAILED, "mmap of writable code");
	memcpy(p, code, sizeof code);
	WANT(call(p) == want, "code where it was written sees another processor: %08x", call(p));
	/* Once more beside it, across two pages, and in a page behind data that is no code. */
	memcpy(p + 4096 - 3, code, sizeof code);
	memset(p + 2 * 4096, 0x0f, 256);
	memcpy(p + 2 * 4096 + 256, code, sizeof code);
	WANT(call(p + 4096 - 3) == want && call(p + 2 * 4096 + 256) == want && call(p) == want, "not everywhere");
	p[2 * 4096] = 1; /* still writable */
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	memcpy(p + 3 * 4096, code, sizeof code);
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(call(p + 3 * 4096) == want ? 7 : 8);
	MUST(waitpid(child, &status, 0) == child, "waitpid");
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 7, "in a child: status %x", status);
	WANT(call(p + 3 * 4096) == want, "with signals blocked");
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	/* What may not run still does not. */
	if ((child = fork()) == 0) {
		struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
		sigaction(SIGSEGV, &a, NULL);
		unsigned char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memcpy(data, code, sizeof code);
		call(data);
		_exit(42);
	}
	MUST(waitpid(child, &status, 0) == child, "waitpid");
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 40, "data was executed: status %x", status);
	munmap(p, 4 * 4096);
}

static const unsigned char looks_like[] = {0x0f, 0xa2, 0x0f, 0xc7, 0xf0, 0x0f, 0x31};

int main(void)
{
	static const struct { uint32_t leaf, subs; } leaves[] = {
		{0, 1}, {1, 1}, {2, 1}, {4, 5}, {5, 1}, {6, 1}, {7, 3}, {0xa, 1}, {0xb, 2}, {0xd, 4}, {0x15, 1}, {0x16, 1}, {0x1f, 2}, {0x40000000, 1},
		{0x80000000, 1}, {0x80000001, 1}, {0x80000002, 1}, {0x80000003, 1}, {0x80000004, 1}, {0x80000005, 1}, {0x80000006, 1},
		{0x80000007, 1}, {0x80000008, 1}, {0x8000001d, 2}, {0x8000001e, 1},
	};
	uint32_t r[4], one[4], seven[4];
	for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
		for (uint32_t s = 0; s < leaves[i].subs; s++) {
			cpuid(leaves[i].leaf, s, r);
			printf("%08x.%u: %08x %08x %08x %08x\n", leaves[i].leaf, s, r[0], r[1], r[2], r[3]);
		}
	cpuid(1, 0, one);
	cpuid(7, 0, seven);
	/* x86-64-v2 is what every peer has: SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT, CMPXCHG16B. */
	WANT((one[2] & (1u << 0)) && (one[2] & (1u << 9)) && (one[2] & (1u << 13)) && (one[2] & (1u << 19)) && (one[2] & (1u << 20)) && (one[2] & (1u << 23)),
	     "less than x86-64-v2: %08x", one[2]);
	printf("fma %u avx %u osxsave %u rdrand %u avx2 %u rdseed %u avx512f %u\n", one[2] >> 12 & 1, one[2] >> 28 & 1, one[2] >> 27 & 1, one[2] >> 30 & 1,
	       seven[1] >> 5 & 1, seven[1] >> 18 & 1, seven[1] >> 16 & 1);
	__builtin_cpu_init();
	printf("compiler: sse4.2 %d popcnt %d avx %d avx2 %d fma %d bmi2 %d\n", !!__builtin_cpu_supports("sse4.2"), !!__builtin_cpu_supports("popcnt"),
	       !!__builtin_cpu_supports("avx"), !!__builtin_cpu_supports("avx2"), !!__builtin_cpu_supports("fma"), !!__builtin_cpu_supports("bmi2"));
	printf("caches: %ld %ld %ld line %ld\n", sysconf(_SC_LEVEL1_DCACHE_SIZE), sysconf(_SC_LEVEL2_CACHE_SIZE), sysconf(_SC_LEVEL3_CACHE_SIZE),
	       sysconf(_SC_LEVEL1_DCACHE_LINESIZE));

	unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(p != MAP_FAILED, "mmap");
	memcpy(p, code, sizeof code);
	MUST(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0, "mprotect");
	uint32_t made = call(p);
	printf("made code: %08x\n", made);
	WANT(made == one[2], "code made at run time sees another processor: %08x, %08x", made, one[2]);

	written(one[2]);

	uint64_t h = MIX0;
	h = mix(h, looks_like, sizeof looks_like);
	uint32_t constant;
	__asm__ volatile("movl $0x0fa2a20f, %0" : "=r"(constant));
	uint64_t wide;
	__asm__ volatile("movabsq $0xf0c70fa20f310fa2, %0" : "=r"(wide));
	printf("looks like: %016llx %08x %016llx\n", (unsigned long long)h, constant, (unsigned long long)wide);
	WANT(constant == 0x0fa2a20f && wide == 0xf0c70fa20f310fa2u && looks_like[1] == 0xa2, "a constant was taken for an instruction");
	return SENSIBLE();
}
