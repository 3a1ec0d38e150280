/* machine: attempts by instructions: calls of other kinds, counters, and signal frames. */
#include "escape.h"
#include <asm/prctl.h>
#include <setjmp.h>
#include <ucontext.h>

#define BEFORE 1700000000 /* the virtual clock is before, the machine's is after */

/* in_child runs a try in a process of its own, since death is an answer too. Gives its status. */
static int in_child(const char *what, void (*try)(void))
{
	fflush(stdout);
	pid_t p = fork();
	if (p < 0)
		escaped("fork: %s", strerrorname_np(errno));
	if (p == 0) {
		try();
		_exit(0);
	}
	int status = 0;
	waitpid(p, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		got("%s", what);
	else
		note("%s: status %x", what, status);
	return status;
}

/* Calls of the 32-bit kind: the numbers are others, so that a filter that does not look takes one for another. */
static long call32(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}
static void int80_getpid(void) { _exit(call32(20, 0, 0, 0) > 0 ? 77 : 0); }
static void int80_time(void)
{
	long t = call32(13, 0, 0, 0);
	_exit(t > BEFORE ? 77 : 0);
}
static void int80_mount(void)
{
	char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	memcpy(low, "none\0/work\0tmpfs", 17);
	_exit(call32(21, (long)low, (long)low + 5, (long)low + 11) == 0 ? 77 : 0);
}
static void calls32(void)
{
	in_child("a 32-bit getpid was answered", int80_getpid);
	in_child("a 32-bit time was answered", int80_time);
	in_child("a 32-bit mount was answered", int80_mount);
}

static void x32_getpid(void)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000 | SYS_getpid) : "rcx", "r11", "memory");
	_exit(r > 0 ? 77 : 0);
}
static void x32_time(void)
{
	struct timespec t = {0, 0};
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000 | SYS_clock_gettime), "D"(CLOCK_REALTIME), "S"(&t) : "rcx", "r11", "memory");
	_exit(r == 0 && t.tv_sec > BEFORE ? 77 : 0);
}
static void x32_readv(void)
{
	char b[8];
	struct { unsigned base, len; } v = {(unsigned)(uintptr_t)b, 8};
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000 | 515), "D"(0), "S"(&v), "d"(1) : "rcx", "r11", "memory");
	_exit(r > 0 ? 77 : 0);
}
static void calls_x32(void)
{
	in_child("an x32 getpid was answered", x32_getpid);
	in_child("an x32 clock_gettime was answered", x32_time);
	in_child("an x32 readv was answered", x32_readv);
}

static void far_jump(void)
{
	/* Into 32-bit code: mov eax, 20 (getpid); int 0x80; mov ebx, eax; mov eax, 1 (exit); int 0x80. */
	static const unsigned char code[] = {0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xbb, 77, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xcd, 0x80};
	unsigned char *low = mmap((void *)0x20000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		_exit(0);
	memcpy(low, code, sizeof code);
	if (mprotect(low, 4096, PROT_READ | PROT_EXEC) != 0)
		_exit(0);
	struct { uint32_t offset; uint16_t segment; } __attribute__((packed)) to = {(uint32_t)(uintptr_t)low, 0x23};
	__asm__ volatile("ljmp *%0" : : "m"(to));
}
static void far_jumps(void) { in_child("32-bit code made a call", far_jump); }

static void wide_number(void)
{
	/* The kernel looks at 32 bits of the number; a filter or a tracer may look at more. */
	struct timespec t = {0, 0};
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(0xffffffff00000000ul | SYS_clock_gettime), "D"(CLOCK_REALTIME), "S"(&t) : "rcx", "r11", "memory");
	if (r == 0 && t.tv_sec > BEFORE)
		_exit(77);
	__asm__ volatile("syscall" : "=a"(r) : "a"(0x100000000ul | SYS_clock_gettime), "D"(0x500000000ul | CLOCK_REALTIME), "S"(&t) : "rcx", "r11", "memory");
	if (r == 0 && t.tv_sec > BEFORE)
		_exit(77);
}
static void negative_number(void)
{
	for (long n = -1; n > -5000000000l; n *= 3)
		if (syscall(n, 0, 0, 0) >= 0)
			_exit(77);
}
static void odd_numbers(void)
{
	in_child("a call number below 0", negative_number);
	in_child("a call number with upper bits", wide_number);
	/* Not 335 and 336, which newer kernels answer with SIGILL and ask no filter about. */
	static const long numbers[] = {337, 400, 423, 470, 511, 512, 547, 548, 1000, 1 << 20, 0x3fffffff};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		refused("a number that is no call", syscall(numbers[i], 0, 0, 0, 0, 0, 0));
}

static void vsyscall_time(void)
{
	long (*time_page)(long *) = (long (*)(long *))0xffffffffff600400;
	_exit(time_page(NULL) > BEFORE ? 77 : 0);
}
static void vsyscall_gettimeofday(void)
{
	long tv[2] = {0, 0};
	((long (*)(long *, void *))0xffffffffff600000)(tv, NULL);
	_exit(tv[0] > BEFORE ? 77 : 0);
}
static void vsyscalls(void)
{
	in_child("time by the vsyscall page", vsyscall_time);
	in_child("gettimeofday by the vsyscall page", vsyscall_gettimeofday);
}
static void vdso(void)
{
	/* Look for its code in all that is mapped above the stack and below. */
	FILE *f = fopen("/proc/self/maps", "r");
	char line[300];
	while (f && fgets(line, sizeof line, f))
		if (strstr(line, "[vvar]") || strstr(line, "[vdso]"))
			note("maps show %.60s", strchr(line, '['));
	for (uintptr_t p = 0x7ffff7f00000; p < 0x7ffff8000000; p += 4096) {
		unsigned char v;
		if (mincore((void *)p, 4096, &v) != 0)
			continue;
		note("mapped at %lx", (unsigned long)p);
	}
	held("no clock but by calls");
}

static volatile int faults;
static sigjmp_buf back;
static void caught(int sig)
{
	faults++;
	siglongjmp(back, sig);
}
static void counters(void)
{
	struct sigaction s;
	memset(&s, 0, sizeof s);
	s.sa_handler = caught;
	s.sa_flags = SA_NODEFER;
	static const int sigs[] = {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP};
	for (size_t i = 0; i < 5; i++)
		sigaction(sigs[i], &s, NULL);
#define TRY(name, code) \
	do { \
		static uint64_t a, d, c; \
		int sig = sigsetjmp(back, 1); \
		if (sig == 0) { \
			__asm__ volatile(code : "+a"(a), "+d"(d), "+c"(c) : : "rbx", "memory"); \
			got("%s gave %llx %llx", name, (unsigned long long)a, (unsigned long long)d); \
		} else \
			note("%s: signal %d", name, sig); \
	} while (0)
	TRY("rdpmc", "rdpmc");
	TRY("rdmsr", "rdmsr");
	TRY("wrmsr", "wrmsr");
	TRY("in", "inb $0x70, %%al");
	TRY("out", "outb %%al, $0x80");
	TRY("cli", "cli");
	TRY("hlt", "hlt");
	TRY("mov cr0", "mov %%cr0, %%rax");
	TRY("mov dr7", "mov %%dr7, %%rax");
	TRY("invlpg", "invlpg (%%rsp)");
	TRY("wbinvd", "wbinvd");
	TRY("xsetbv", "xsetbv");
}
static void frames(void)
{
	/* A signal frame of our own making: another code segment, flags that trap or forbid interrupts. */
	pid_t p = fork();
	if (p == 0) {
		char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ucontext_t *u = (ucontext_t *)(stack + 32768);
		memset(u, 0xff, sizeof *u);
		u->uc_mcontext.fpregs = NULL;
		__asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall" : : "r"(u) : "memory");
		_exit(77);
	}
	int status = 0;
	waitpid(p, &status, 0);
	note("a frame of ones: status %x", status);
	p = fork();
	if (p == 0) {
		signal(SIGTRAP, SIG_IGN);
		__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n\tnop" : : : "memory", "cc");
		struct timespec t = {0, 0};
		syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
		_exit(t.tv_sec > BEFORE ? 77 : 0);
	}
	waitpid(p, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		got("single steps hide a call");
	else
		note("single steps: status %x", status);
	REFUSED(syscall(SYS_restart_syscall));
}
static void arch_prctls(void)
{
	REFUSED(syscall(SYS_modify_ldt, 1, NULL, 0));
	REFUSED(syscall(SYS_arch_prctl, 0x1012 /* ARCH_SET_CPUID */, 1));
	REFUSED(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000ul));
	REFUSED(syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18));
	struct { unsigned entry, base, limit, flags; } d = {-1u, 0, 0xfffff, 1 | 16};
	REFUSED(syscall(SYS_set_thread_area, &d));
}
static void low_memory(void)
{
	REFUSED(mmap(NULL, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	REFUSED(mmap((void *)0xffff800000000000, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	long r = syscall(SYS_read, 0, (void *)0xffffffff81000000, 4);
	refused("read into the kernel", r);
	r = syscall(SYS_write, 1, (void *)0xffffffff81000000, 4);
	refused("write from the kernel", r);
	r = syscall(SYS_clock_gettime, CLOCK_REALTIME, (void *)0xffffffff81000000);
	refused("the clock into the kernel", r);
	r = syscall(SYS_getrandom, (void *)8, 1 << 20, 0);
	refused("randomness to nowhere", r);
	r = syscall(SYS_open, (void *)8, 0);
	refused("a path from nowhere", r);
	char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(end + 4096, 4096);
	memset(end, '/', 4096);
	r = syscall(SYS_open, end + 4000, 0);
	refused("a path without an end", r);
	r = syscall(SYS_clock_gettime, CLOCK_REALTIME, end + 4092);
	refused("the clock over an edge", r);
}

const struct attempt machine_attempts[] = {
	{"calls-32-bit", calls32}, {"calls-x32", calls_x32}, {"far-jump", far_jumps}, {"call-numbers", odd_numbers}, {"vsyscall", vsyscalls}, {"vdso", vdso},
	{"privileged-instructions", counters}, {"signal-frames", frames}, {"arch-prctl", arch_prctls}, {"bad-addresses", low_memory}, {NULL, NULL},
};
