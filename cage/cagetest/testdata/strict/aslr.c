/* aslr: where everything lies, and the secrets that libc hides at the start; a set of pointers in the order of its hash. */
#include "strict.h"
#include <sys/auxv.h>

static int in_data = 1, in_bss;
extern char **environ;

static void *thread(void *arg)
{
	int here;
	*(uintptr_t *)arg = (uintptr_t)&here;
	return NULL;
}

int main(int argc, char **argv)
{
	int here;
	void *heap = malloc(100), *big = malloc(1 << 20), *map = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t canary;
	__asm__("movq %%fs:0x28, %0" : "=r"(canary));
	printf("code %p library %p data %p bss %p\n", (void *)(uintptr_t)main, (void *)(uintptr_t)getpid, (void *)&in_data, (void *)&in_bss);
	printf("stack %p argv %p %p env %p\n", (void *)&here, (void *)argv, (void *)argv[0], (void *)environ);
	printf("heap %p big %p map %p brk %p\n", heap, big, map, sbrk(0));
	printf("canary %016llx\n", (unsigned long long)canary);
	WANT((canary & 0xff) == 0 && canary != 0, "the stack's guard is %llx", (unsigned long long)canary);
	pthread_t t[3];
	void *stacks[3];
	for (int i = 0; i < 3; i++)
		MUST(pthread_create(&t[i], NULL, thread, &stacks[i]) == 0, "pthread_create");
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		printf("thread's stack %p\n", stacks[i]);
	}
	/* A set keyed by pointers, as many programs have: the order of a walk is the order of the addresses' hash. */
	void *table[256] = {0};
	unsigned seed = 1;
	for (int i = 0; i < 100; i++) {
		int *p = malloc(16 + next(&seed) % 3000);
		*p = i;
		uint64_t h = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 56;
		while (table[h])
			h = (h + 1) & 255;
		table[h] = p;
	}
	uint64_t sum = 0;
	printf("set:");
	for (int i = 0; i < 256; i++)
		if (table[i]) {
			printf(" %d", *(int *)table[i]);
			sum += *(int *)table[i];
		}
	printf("\n");
	WANT(sum == 4950, "the set lost a member");
	return SENSIBLE() + (argc > 5);
}
