/* info: uname, sysinfo, how many processors there are and which this is, and how the scheduler treats us. */
#include "strict.h"
#include <sys/prctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void)
{
	struct utsname u;
	MUST(uname(&u) == 0, "uname");
	printf("uname %s|%s|%s|%s|%s|%s\n", u.sysname, u.nodename, u.release, u.version, u.machine, u.domainname);
	WANT(strcmp(u.sysname, "Linux") == 0 && strcmp(u.machine, "x86_64") == 0, "%s on %s", u.sysname, u.machine);
	char host[65];
	MUST(gethostname(host, sizeof host) == 0, "gethostname");
	WANT(strcmp(host, u.nodename) == 0, "two names: %s, %s", host, u.nodename);
	for (int i = 0; i < 2; i++) {
		struct sysinfo s;
		MUST(sysinfo(&s) == 0, "sysinfo");
		printf("sysinfo up %ld loads %lu %lu %lu ram %lu %lu %lu %lu swap %lu %lu procs %u high %lu %lu unit %u\n", s.uptime, s.loads[0], s.loads[1], s.loads[2],
		       s.totalram, s.freeram, s.sharedram, s.bufferram, s.totalswap, s.freeswap, s.procs, s.totalhigh, s.freehigh, s.mem_unit);
		WANT(s.freeram <= s.totalram && s.mem_unit > 0 && s.procs > 0 && s.totalram > 0, "sysinfo");
		rest(100);
	}
	double loads[3] = {0};
	int n = getloadavg(loads, 3);
	printf("loadavg %d %.2f %.2f %.2f\n", n, loads[0], loads[1], loads[2]);
	cpu_set_t set;
	CPU_ZERO(&set);
	MUST(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
	printf("affinity %d:", CPU_COUNT(&set));
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			printf(" %d", i);
	unsigned cpu = 99, node = 99;
	printf("\nraw affinity %ld, set %d %d\n", syscall(SYS_sched_getaffinity, 0, sizeof set, &set), sched_setaffinity(0, sizeof set, &set), errno);
	printf("processors %ld %ld %d %d\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF), get_nprocs(), get_nprocs_conf());
	MUST(getcpu(&cpu, &node) == 0, "getcpu");
	printf("cpu %u %u %d", cpu, node, sched_getcpu());
	unsigned raw = 99;
	syscall(SYS_getcpu, &raw, NULL, NULL);
	printf(" %u\n", raw);
	WANT(CPU_ISSET(cpu, &set), "runs on processor %u, which is not its own", cpu);
	struct sched_param sp;
	struct timespec rr = {0};
	printf("policy %d priority %d %d nice %d rr %d %ld\n", sched_getscheduler(0), sched_getparam(0, &sp), sp.sched_priority, getpriority(PRIO_PROCESS, 0),
	       sched_rr_get_interval(0, &rr) ? errno : 0, rr.tv_nsec);
	printf("nice %d, fifo %d\n", nice(5), sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}) ? errno : 0);
	printf("personality %x dumpable %d keepcaps %d name", personality(0xffffffff), prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS));
	char name[17] = "";
	prctl(PR_GET_NAME, name);
	printf(" %s slack %d\n", name, prctl(PR_GET_TIMERSLACK));
	printf("pages %ld %ld of %ld, open %ld, args %ld\n", sysconf(_SC_PHYS_PAGES), sysconf(_SC_AVPHYS_PAGES), sysconf(_SC_PAGESIZE), sysconf(_SC_OPEN_MAX), sysconf(_SC_ARG_MAX));
	return SENSIBLE();
}
