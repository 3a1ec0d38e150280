/* tsc: the time stamp counter, which no system call guards, from ordinary code and from code made at run time. */
#include "strict.h"

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}
static uint64_t rdtscp(uint32_t *aux)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(*aux));
	return (uint64_t)hi << 32 | lo;
}

int main(void)
{
	uint32_t aux = 0;
	uint64_t first = rdtsc(), last = first;
	for (int i = 0; i < 500; i++) {
		uint64_t t = i & 1 ? rdtsc() : rdtscp(&aux);
		WANT(t >= last, "the counter went back");
		last = t;
	}
	printf("tsc %llu %llu, aux %u\n", (unsigned long long)first, (unsigned long long)last, aux);
	rest(10);
	uint64_t slept = rdtsc();
	printf("10 ms: +%llu\n", (unsigned long long)(slept - last));
	WANT(slept - last > 1000, "the counter stood still during a sleep");
	/* shl rdx,32; or rax,rdx; ret: the upper halves that rdtsc must clear are part of what is printed */
	static const unsigned char code[] = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};
	unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(p != MAP_FAILED, "mmap");
	memcpy(p, code, sizeof code);
	MUST(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0, "mprotect");
	uint64_t made = ((uint64_t (*)(void))(uintptr_t)p)();
	printf("made code: %llu\n", (unsigned long long)made);
	WANT(made >= slept, "the counter went back in code made at run time");
	return SENSIBLE();
}
