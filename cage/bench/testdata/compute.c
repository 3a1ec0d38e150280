/* compute.c: a loop of integer and floating-point work over a table that fits the caches. */
#include <stdint.h>
#include <stdio.h>

static uint64_t table[1 << 15];

int main(void)
{
	uint64_t x = 88172645463325252ull;
	double sum = 0;
	for (int round = 0; round < 6000; round++)
		for (unsigned i = 0; i < 1 << 15; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			table[(x >> 20) & ((1 << 15) - 1)] += x;
			sum += (double)(table[i] & 0xffff) * 1e-6;
		}
	printf("%llu %.6f\n", (unsigned long long)table[7], sum);
	return 0;
}
