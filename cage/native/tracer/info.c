/* info.c: what the program may learn of its machine and of itself: the same everywhere. */
#include "clock.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static int copy_out(struct thread *t, uint64_t to, const void *from, size_t n, long r)
{
	return give(t, poke(t, to, from, n) ? r : -EFAULT);
}

static uint64_t up(void) { return vnow() - job->epoch_ns; }

static int do_uname(struct thread *t)
{
	static const struct utsname u = {"Linux", "cage", "6.1.0", "#1 SMP", "x86_64", "(none)"};
	return copy_out(t, t->a[0], &u, sizeof u, 0);
}

static int do_sysinfo(struct thread *t)
{
	struct sysinfo s;
	memset(&s, 0, sizeof s);
	s.uptime = (long)(up() / 1000000000u) + 1;
	s.totalram = job->memory_bytes; /* as /proc/meminfo says: what one process may have */
	s.freeram = job->memory_bytes / 2;
	s.mem_unit = 1;
	for (struct process *p = processes; p; p = p->next)
		s.procs = (unsigned short)(s.procs + (p->zombie ? 0 : p->threads));
	return copy_out(t, t->a[0], &s, sizeof s, 0);
}

static uint64_t processor_ns(struct thread *t, clockid_t id)
{
	struct clock c;
	return clock_of(t, id, &c) == 0 ? clock_now(&c) : 0;
}

/* Processor time is the virtual time in which a thread ran: the clock is all there is to say of how long. */
static int do_getrusage(struct thread *t)
{
	struct rusage u;
	memset(&u, 0, sizeof u);
	int who = (int)t->a[0];
	if (who != RUSAGE_SELF && who != RUSAGE_CHILDREN && who != RUSAGE_THREAD)
		return give(t, -EINVAL);
	if (who != RUSAGE_CHILDREN) {
		uint64_t ran = processor_ns(t, who == RUSAGE_THREAD ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID);
		u.ru_utime.tv_sec = (time_t)(ran / 1000000000u);
		u.ru_utime.tv_usec = (suseconds_t)(ran % 1000000000u / 1000);
	}
	u.ru_maxrss = 16384;
	return copy_out(t, t->a[1], &u, sizeof u, 0);
}

static int do_times(struct thread *t)
{
	struct tms b;
	memset(&b, 0, sizeof b);
	b.tms_utime = (clock_t)(processor_ns(t, CLOCK_PROCESS_CPUTIME_ID) / 10000000u);
	if (t->a[0] && !poke(t, t->a[0], &b, sizeof b))
		return give(t, -EFAULT);
	return give(t, (long)(up() / 10000000u) + 100);
}

bool in_cage(struct thread *t, uint64_t pid)
{
	if ((int)pid == 0 || (uint32_t)pid == t->vtid)
		return true;
	for (struct process *p = processes; p; p = p->next)
		if (p->vpid == (uint32_t)pid)
			return true;
	for (struct thread *o = threads; o; o = o->next)
		if (o->vtid == (uint32_t)pid)
			return true;
	return false;
}

static int do_getaffinity(struct thread *t)
{
	uint64_t mask = 1;
	if (t->a[1] < 8 || t->a[1] & 7)
		return give(t, -EINVAL);
	if (!in_cage(t, t->a[0]))
		return give(t, -ESRCH);
	return copy_out(t, t->a[2], &mask, 8, 8);
}

static int do_setaffinity(struct thread *t)
{
	uint8_t first = 0;
	if (!in_cage(t, t->a[0]))
		return give(t, -ESRCH);
	if (t->a[1] && !peek(t, t->a[2], &first, 1))
		return give(t, -EFAULT);
	return give(t, first & 1 ? 0 : -EINVAL);
}

static int do_getcpu(struct thread *t)
{
	uint32_t zero = 0;
	if ((t->a[0] && !poke(t, t->a[0], &zero, 4)) || (t->a[1] && !poke(t, t->a[1], &zero, 4)))
		return give(t, -EFAULT);
	return give(t, 0);
}

static int do_sched(struct thread *t)
{
	uint32_t attr[12] = {48};
	uint64_t zero[2] = {0, 100000000};
	if (t->nr != SYS_sched_get_priority_max && t->nr != SYS_sched_get_priority_min && !in_cage(t, t->a[0]))
		return give(t, -ESRCH);
	switch (t->nr) {
	case SYS_sched_getparam:
		return copy_out(t, t->a[1], zero, 4, 0);
	case SYS_sched_rr_get_interval:
		return copy_out(t, t->a[1], zero, 16, 0);
	case SYS_sched_getattr:
		return t->a[2] < 48 ? give(t, -EINVAL) : copy_out(t, t->a[1], attr, 48, 0);
	case SYS_sched_setscheduler:
		return give(t, t->a[1] == SCHED_OTHER || t->a[1] == SCHED_BATCH || t->a[1] == SCHED_IDLE ? 0 : -EPERM);
	case SYS_sched_get_priority_max:
	case SYS_sched_get_priority_min: {
		bool max = t->nr == SYS_sched_get_priority_max;
		int policy = (int)t->a[0];
		return give(t, policy == SCHED_FIFO || policy == SCHED_RR ? (max ? 99 : 1) : policy == 0 || policy == 3 || policy == 5 || policy == 6 ? 0 : -EINVAL);
	}
	}
	return give(t, 0); /* getscheduler: SCHED_OTHER; setparam, setattr: taken and without effect */
}

/* --- users: there is one, 0 */
static int do_setid(struct thread *t)
{
	int n = t->nr == SYS_setresuid || t->nr == SYS_setresgid ? 3 : t->nr == SYS_setreuid || t->nr == SYS_setregid ? 2 : 1;
	for (int i = 0; i < n; i++)
		if ((int)t->a[i] != 0 && ((int)t->a[i] != -1 || n == 1))
			return give(t, -EINVAL); /* as a namespace with one user says */
	return give(t, 0);
}
static int do_setgroups(struct thread *t) { return give(t, t->a[0] ? -EPERM : 0); }

static int do_capget(struct thread *t)
{
	uint32_t head[2], none[6] = {0};
	if (!peek(t, t->a[0], head, sizeof head))
		return give(t, -EFAULT);
	if (head[0] != _LINUX_CAPABILITY_VERSION_1 && head[0] != _LINUX_CAPABILITY_VERSION_2 && head[0] != _LINUX_CAPABILITY_VERSION_3) {
		head[0] = _LINUX_CAPABILITY_VERSION_3;
		return copy_out(t, t->a[0], head, 4, t->a[1] ? -EINVAL : 0);
	}
	if (!t->a[1])
		return give(t, 0);
	return copy_out(t, t->a[1], none, head[0] == _LINUX_CAPABILITY_VERSION_1 ? 12 : 24, 0);
}

static int do_prctl(struct thread *t)
{
	char name[16];
	int zero = 0;
	switch ((int)t->a[0]) {
	case PR_SET_NAME:
		memset(name, 0, sizeof name);
		for (int i = 0; i < 15 && peek(t, t->a[1] + (uint64_t)i, name + i, 1) && name[i]; i++)
			;
		if (t->vtid == t->p->vpid)
			memcpy(t->p->comm, name, sizeof name);
		return V_PASS;
	case PR_GET_NAME:
	case PR_SET_NO_NEW_PRIVS:
	case PR_GET_NO_NEW_PRIVS:
	case PR_SET_VMA: /* names of anonymous mappings: no effect where the kernel has none */
		return (int)t->a[0] == PR_SET_VMA ? give(t, -EINVAL) : V_PASS;
	case PR_SET_PDEATHSIG: /* when its parent ends as a process: the kernel means the parent's thread */
		if (t->a[1] > 64)
			return give(t, -EINVAL);
		t->p->parent_end = (int)t->a[1];
		return give(t, 0);
	case PR_GET_PDEATHSIG:
		return copy_out(t, t->a[1], &t->p->parent_end, sizeof t->p->parent_end, 0);
	case PR_SET_CHILD_SUBREAPER:
		t->p->adopts = t->a[1];
		return V_PASS;
	case PR_GET_CHILD_SUBREAPER:
		return V_PASS;
	case PR_SET_DUMPABLE:
		return give(t, t->a[1] <= 1 ? 0 : -EINVAL);
	case PR_GET_DUMPABLE:
		return give(t, 1);
	case PR_SET_PTRACER:
		return give(t, -EPERM);
	case PR_CAPBSET_READ:
		return give(t, t->a[1] <= 40 ? 0 : -EINVAL);
	case PR_CAPBSET_DROP:
		return give(t, -EPERM);
	case PR_SET_KEEPCAPS:
	case PR_SET_TIMERSLACK:
		return give(t, 0);
	case PR_GET_KEEPCAPS:
		return give(t, 0);
	case PR_GET_TIMERSLACK:
		return give(t, 50000);
	case PR_SET_THP_DISABLE:
		return give(t, 0);
	case PR_GET_TSC:
		zero = PR_TSC_ENABLE;
		return copy_out(t, t->a[1], &zero, sizeof zero, 0);
	}
	return give(t, -EINVAL);
}

static int do_arch_prctl(struct thread *t)
{
	int code = (int)t->a[0];
	return code >= 0x1001 && code <= 0x1004 ? V_PASS : give(t, -EINVAL); /* FS and GS bases */
}

static int do_personality(struct thread *t)
{
	uint32_t p = (uint32_t)t->a[0];
	return give(t, p == 0xffffffff || p == 0 || p == 0x0040000 ? 0x0040000 : -EINVAL);
}

/* With one thread running at a time, each stop is a barrier. */
static int do_membarrier(struct thread *t)
{
	return give(t, t->a[0] == 0 ? 0x1f : t->a[0] <= 16 ? 0 : -EINVAL);
}

/* As a kernel that has no filters says, which programs that would have their own put up with. Answered here and not by
 * the filter, which the tracer's own calls in the program's name must pass. */
static int do_seccomp(struct thread *t) { return give(t, -ENOSYS); }

/* Priorities are taken and without effect: all have nice 0, which the raw call says as 20. */
static int do_priority(struct thread *t)
{
	if (t->a[0] > PRIO_USER)
		return give(t, -EINVAL);
	if (t->a[0] == PRIO_PROCESS && !in_cage(t, t->a[1]))
		return give(t, -ESRCH);
	return give(t, t->nr == SYS_getpriority ? 20 : 0);
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call info_calls[] = {
	TRACE(uname, do_uname), TRACE(sysinfo, do_sysinfo), TRACE(getrusage, do_getrusage), TRACE(times, do_times),
	TRACE(sched_getaffinity, do_getaffinity), TRACE(sched_setaffinity, do_setaffinity), TRACE(getcpu, do_getcpu),
	TRACE(sched_getparam, do_sched), TRACE(sched_setparam, do_sched), TRACE(sched_getscheduler, do_sched),
	TRACE(sched_setscheduler, do_sched), TRACE(sched_getattr, do_sched), TRACE(sched_setattr, do_sched),
	TRACE(sched_rr_get_interval, do_sched), TRACE(sched_get_priority_max, do_sched), TRACE(sched_get_priority_min, do_sched),
	TRACE(getpriority, do_priority), TRACE(setpriority, do_priority), ERRNO(ioprio_set, 0), ERRNO(ioprio_get, 0),
	PASS(getuid), PASS(geteuid), PASS(getgid), PASS(getegid), PASS(getresuid), PASS(getresgid),
	TRACE(setuid, do_setid), TRACE(setgid, do_setid), TRACE(setreuid, do_setid), TRACE(setregid, do_setid),
	TRACE(setresuid, do_setid), TRACE(setresgid, do_setid), ERRNO(setfsuid, 0), ERRNO(setfsgid, 0),
	ERRNO(getgroups, 0), TRACE(setgroups, do_setgroups), TRACE(capget, do_capget), ERRNO(capset, EPERM),
	TRACE(prctl, do_prctl), TRACE(arch_prctl, do_arch_prctl), TRACE(personality, do_personality), TRACE(membarrier, do_membarrier),
	ERRNO(rseq, ENOSYS), ERRNO(get_mempolicy, ENOSYS), ERRNO(set_mempolicy, ENOSYS), ERRNO(mbind, ENOSYS),
	ERRNO(migrate_pages, ENOSYS), ERRNO(move_pages, ENOSYS), ERRNO(io_uring_setup, ENOSYS), ERRNO(io_uring_enter, ENOSYS),
	ERRNO(io_uring_register, ENOSYS), ERRNO(io_setup, ENOSYS), ERRNO(add_key, ENOSYS), ERRNO(request_key, ENOSYS), ERRNO(keyctl, ENOSYS),
	ERRNO(bpf, ENOSYS), ERRNO(perf_event_open, ENOSYS), ERRNO(userfaultfd, ENOSYS), ERRNO(mount, EPERM), ERRNO(umount2, EPERM),
	ERRNO(pivot_root, EPERM), ERRNO(open_tree, ENOSYS), ERRNO(move_mount, ENOSYS), ERRNO(fsopen, ENOSYS), ERRNO(fsconfig, ENOSYS),
	ERRNO(fsmount, ENOSYS), ERRNO(fspick, ENOSYS), ERRNO(mount_setattr, ENOSYS), ERRNO(setns, EPERM), ERRNO(unshare, EPERM),
	ERRNO(kexec_load, ENOSYS), ERRNO(kexec_file_load, ENOSYS), ERRNO(ptrace, EPERM), ERRNO(process_vm_readv, EPERM),
	ERRNO(process_vm_writev, EPERM), ERRNO(kcmp, EPERM), ERRNO(init_module, EPERM), ERRNO(finit_module, EPERM), ERRNO(delete_module, EPERM),
	ERRNO(reboot, EPERM), ERRNO(swapon, EPERM), ERRNO(swapoff, EPERM), ERRNO(sethostname, EPERM), ERRNO(setdomainname, EPERM),
	ERRNO(iopl, EPERM), ERRNO(ioperm, EPERM), ERRNO(syslog, EPERM), ERRNO(acct, EPERM), ERRNO(vhangup, EPERM), ERRNO(modify_ldt, ENOSYS),
	TRACE(seccomp, do_seccomp), ERRNO(landlock_create_ruleset, ENOSYS), ERRNO(landlock_add_rule, ENOSYS), ERRNO(landlock_restrict_self, ENOSYS),
	ERRNO(process_madvise, ENOSYS), ERRNO(process_mrelease, ENOSYS), ERRNO(_sysctl, ENOSYS), ERRNO(uselib, ENOSYS), ERRNO(ustat, ENOSYS), ERRNO(sysfs, ENOSYS),
	{-1, C_PASS, NULL, 0},
};
