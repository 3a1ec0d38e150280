/* page.h: what the tracer and the image that it puts in place of the vDSO share. */
#ifndef DOCKLOCK_TRACER_PAGE_H
#define DOCKLOCK_TRACER_PAGE_H

#include <stdint.h>

#define CLOCK_READ_NS 1100       /* what a read of a clock adds, with the call that it would have been */
#define CLOCK_COARSE_NS 4000000  /* step of the coarse clocks */
#define CLOCK_BOOTED_NS 1000000000u /* before the epoch: what the clocks that count from boot show at first */
#define CLOCK_MARK_1 0x6b636f4c6b636f44u
#define CLOCK_MARK_2 0x6b636f6c63207962u

struct clock_page {
	uint64_t passed;    /* virtual ns since the epoch */
	uint64_t due;       /* of them, at which the tracer must be asked */
	uint64_t epoch_ns;
	uint32_t reads;     /* since it was last asked */
	uint32_t turn;      /* at most so many: then others may run */
};
#endif
