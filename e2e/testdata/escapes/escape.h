/* escape.h: what the attempts share. Each attempt is one function, named in the table of its file. It tries to get out, to
 * harm what is outside or to use up the machine, and says "held" with what it met, or "ESCAPED" with what it got. */
#ifndef ESCAPE_H
#define ESCAPE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct attempt {
	const char *name;
	void (*run)(void);
};
extern const struct attempt kernel_attempts[], process_attempts[], file_attempts[], output_attempts[], net_attempts[], flood_attempts[], machine_attempts[],
	race_attempts[];

void held(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void escaped(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* note says what one of several tries met; got says that it succeeded, which the attempt as a whole must not. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void got(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* refused wants a call to have failed, whatever with. */
long refused(const char *what, long r);
#define REFUSED(call) refused(#call, (long)(call))
/* done ends an attempt of several tries. */
void done(void) __attribute__((noreturn));

/* What is outside, as the test tells it: canary("FILE") and so on. */
const char *canary(const char *name);
/* holds_canary says whether a file, opened by any trick, is the one outside. */
int holds_canary(int fd);
/* opened is refused for descriptors: what was opened is no harm unless it is the canary or can be written. */
void opened(const char *what, int fd);
#endif
