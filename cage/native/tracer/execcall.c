/* execcall.c: execve and execveat, from the call to the fresh program; exec.c has what that finds. */
#include "core.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static void drop_text(struct thread *t)
{
	free((void *)t->keep[0]);
	t->keep[0] = 0;
}

static bool started;

/* The first program's failure to start is the job's. */
static void not_executed(long result)
{
	if (!started)
		bad_job(result == -ENOEXEC ? "the program is of another architecture, or no program at all" :
			result == -ENOENT ? "no such program, or its interpreter is missing" : result == -EACCES ? "the program is not executable" : "the program cannot be started",
			(int)-result);
}

static int executed_call(struct thread *t, long result)
{
	if (result == 0) {
		started = true;
		after_exec(t);
		event(t, TJ_EXEC, (void *)t->keep[0], t->keep[1]);
	} else {
		not_executed(result);
	}
	drop_text(t);
	return V_DONE;
}

#define EXEC_TEXT (1u << 17) /* of a path and its arguments, as the witness keeps them */

int do_exec(struct thread *t)
{
	char path[4096], *text = malloc(EXEC_TEXT);
	int dirfd = t->nr == SYS_execveat ? (int)t->a[0] : AT_FDCWD;
	uint64_t at = t->nr == SYS_execveat ? t->a[1] : t->a[0], list = t->nr == SYS_execveat ? t->a[2] : t->a[1], arg;
	size_t n;
	long l = peek_string(t, at, path, sizeof path);
	if (!text)
		trouble("memory for a program's arguments");
	if (job->flags & TJ_NO_PROCESSES && t->p->exe) {
		free(text);
		return give(t, -EPERM);
	}
	if (l < 0) {
		free(text);
		return give(t, l);
	}
	absolute_path(t, dirfd, path, text, 4096);
	proc_touch(t, text);
	l = exec_error(t, dirfd, at, t->nr == SYS_execveat && t->a[4] & AT_EMPTY_PATH);
	if (l < 0) {
		not_executed(l);
		free(text);
		return give(t, l);
	}
	n = strlen(text) + 1;
	while (list && peek(t, list, &arg, 8) && arg && n < EXEC_TEXT) {
		l = peek_string(t, arg, text + n, EXEC_TEXT - n);
		if (l < 0)
			break;
		n += (size_t)l + 1;
		list += 8;
	}
	t->keep[0] = (uint64_t)text;
	t->keep[1] = n < EXEC_TEXT ? n : EXEC_TEXT;
	t->after = executed_call;
	return V_AFTER;
}

void executed(struct thread *t)
{
	unsigned long message = 0;
	struct process *p = t->p;
	ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &message);
	struct thread *by = thread_of((pid_t)message);
	if (by && by != t) {
		/* Another than the first thread has executed: it is the first now, under its number. */
		uint32_t vtid = t->vtid;
		pid_t tid = t->tid;
		drop_thread(t);
		struct thread *moved = calloc(1, sizeof *moved);
		if (!moved)
			trouble("memory for a thread");
		*moved = *by;
		drop_thread(by);
		t = moved;
		t->tid = tid;
		t->vtid = vtid;
		t->out = false;
		add_thread(t);
		p->threads--;
		alive--;
	}
	running = t;
	t->state = READY;
	t->clear_tid = 0;
	p->mm = ++address_spaces;
	p->scratch = p->vdso = p->clock_at = 0;
	p->clock_reads = 0;
	await_vforker(p);
	signals_exec(p);
	fd_exec(p);
	timers_exec(p);
	futex_exec(t);
	patch_free(p);
	resume(t, PTRACE_SYSCALL, 0);
}
