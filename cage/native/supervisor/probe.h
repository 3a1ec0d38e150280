/* probe.h: tries each wall in a process of its own and says whether the machine gives it. */

static const struct {
	const char *name;
	unsigned long ns; /* tried in a fresh user namespace */
} walls[] = {
	{"user namespace", 0},          {"mount namespace", CLONE_NEWNS}, {"pid namespace", CLONE_NEWPID},
	{"net namespace", CLONE_NEWNET}, {"ipc namespace", CLONE_NEWIPC},  {"uts namespace", CLONE_NEWUTS},
	{"pivot_root", CLONE_NEWNS},     {"no_new_privs", 0},              {"capabilities", 0},
	{"seccomp", 0},                  {"rlimits", 0},                   {"memory", 0},
};

/* try_wall runs in a fresh process and gives 0 or an errno. */
static int try_wall(const char *stage, const char *name, unsigned long ns)
{
	char uids[32], gids[32];
	snprintf(uids, sizeof uids, "0 %u 1", geteuid());
	snprintf(gids, sizeof gids, "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER | ns) < 0 || put("/proc/self/uid_map", uids) < 0 || put("/proc/self/setgroups", "deny") < 0 ||
	    put("/proc/self/gid_map", gids) < 0)
		return errno;
	if (!strcmp(name, "pivot_root")) {
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("tmpfs", stage, "tmpfs", 0, NULL) < 0 || chdir(stage) < 0)
			return errno;
		int tree = (int)syscall(SYS_open_tree, AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
		const char *failed = NULL;
		if (tree < 0)
			return errno;
		attributes(tree, MOUNT_ATTR_RDONLY, -1, &failed);
		if (failed || mkdir("job", 0755) < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, "job", MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return errno;
		if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
			return errno;
	} else if (!strcmp(name, "no_new_privs")) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			return errno;
	} else if (!strcmp(name, "capabilities")) {
		struct dl_page page;
		memset(&page, 0, sizeof page);
		dl_drop_capabilities(&page); /* ends the process with 125 if it cannot */
	} else if (!strcmp(name, "seccomp")) {
		unsigned action = SECCOMP_RET_KILL_PROCESS;
		if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
			return errno;
	} else if (!strcmp(name, "rlimits")) {
		struct rlimit l = {64, 64};
		if (setrlimit(RLIMIT_NOFILE, &l) < 0 || prctl(PR_SET_TSC, PR_TSC_SIGSEGV) < 0)
			return errno;
	} else if (!strcmp(name, "memory")) {
		struct rlimit l = {64u << 20, 64u << 20};
		if (setrlimit(RLIMIT_AS, &l) < 0)
			return errno;
		if (mmap(NULL, 128u << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			return ENOSYS;
	}
	return 0;
}

static int probe(const char *stage)
{
	for (int i = 0; i < (int)(sizeof walls / sizeof *walls); i++) {
		fflush(stdout);
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (p == 0)
			_exit(try_wall(stage, walls[i].name, walls[i].ns));
		int st = 0;
		while (waitpid(p, &st, 0) < 0 && errno == EINTR)
			;
		int e = WIFEXITED(st) ? WEXITSTATUS(st) : EFAULT;
		printf("%s\t%s\n", walls[i].name, e ? strerror(e) : "ok");
	}
	return 0;
}
