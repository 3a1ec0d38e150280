package cage

import (
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Policy says which system calls a program may make. What it does not name kills the program, and so does any call of
// another architecture's table. An engine compiles the filter from it, so that its digest in a spec names the filter.
type Policy struct {
	_       struct{} `cbor:",toarray"`
	Version uint32   // 1
	Name    string
	Calls   []Call // sorted by Name
	Startup []Call // besides Calls, for a program that is executed in the cage rather than forked from a zygote
}

// Call is the rule for one system call. Several rules of the same name are tried in order.
type Call struct {
	_     struct{} `cbor:",toarray"`
	Name  string   // of the x86-64 system call
	Errno uint32   // what it answers; 0: the call is let through
	When  []Arg    // all must hold for the rule to apply
}

// Arg compares the low 32 bits of one argument under a mask.
type Arg struct {
	_     struct{} `cbor:",toarray"`
	Index uint32   // 0 to 5
	Mask  uint32
	Value uint32
}

// Digest names the policy.
func (p *Policy) Digest() digest.Digest { return digest.Sum("docklock/policy/1", canon.Must(p)) }

// Errors that rules answer with, as Linux numbers them.
const (
	eperm  = 1
	enotty = 25
	enosys = 38
)

// Sealed is the policy for images that bring their own clock and randomness: enough for a single-threaded static
// program that reads its inputs, computes, and writes its outputs. Calls that tell time, give randomness, start
// processes, open sockets or reach other processes kill. A few that programs make for advice and can do without
// answer with a fixed error.
func Sealed() *Policy {
	p := &Policy{Version: 1, Name: "sealed"}
	for _, name := range []string{
		"access", "brk", "chdir", "close", "dup", "dup2", "dup3", "exit", "exit_group", "faccessat", "faccessat2",
		"fadvise64", "fallocate", "fchdir", "fcntl", "fdatasync", "flock", "fstat", "fsync", "ftruncate", "futex", "getcwd",
		"getdents64", "getegid", "geteuid", "getgid", "getpid", "gettid", "getuid", "link", "linkat", "lseek", "lstat",
		"madvise", "mkdir", "mkdirat", "mremap", "msync", "munmap", "newfstatat", "open", "openat", "pread64", "preadv",
		"pwrite64", "pwritev", "read", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
		"restart_syscall", "rmdir", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "sigaltstack", "stat",
		"statx", "truncate", "umask", "unlink", "unlinkat", "write", "writev",
	} {
		p.Calls = append(p.Calls, Call{Name: name})
	}
	add := func(name string, errno uint32, when ...Arg) {
		p.Calls = append(p.Calls, Call{Name: name, Errno: errno, When: when})
	}
	const all = 0xffffffff
	const protExec = 4
	add("mmap", 0, Arg{Index: 2, Mask: protExec})                 // no new code
	add("mprotect", 0, Arg{Index: 2, Mask: protExec})             //
	add("tgkill", 0, Arg{Index: 0, Mask: all, Value: 2})          // abort(): a job's process is number 2 of its namespace
	add("ioctl", enotty, Arg{Index: 1, Mask: all, Value: 0x5401}) // TCGETS, from isatty
	add("prlimit64", 0, Arg{Index: 2, Mask: all})                 // reading a limit, which the spec has set
	add("prlimit64", eperm)
	add("getrlimit", 0)
	for _, name := range []string{"chmod", "fchmod", "fchmodat", "setrlimit", "utimensat"} {
		add(name, eperm)
	}
	for _, name := range []string{
		"copy_file_range", "fstatfs", "get_mempolicy", "getcpu", "mbind", "membarrier", "sched_getaffinity",
		"sched_setaffinity", "sendfile", "statfs", "sysinfo", "uname",
	} {
		add(name, enosys)
	}
	// glibc's start-up. uname tells the kernel's release, which static glibc before 2.37 insists on; getrandom of
	// 8 bytes that must not block is the allocator's guard against double frees.
	p.Startup = []Call{
		{Name: "arch_prctl"},
		{Name: "execveat", When: []Arg{{Index: 4, Mask: all, Value: 0x1000}}},
		{Name: "getrandom", When: []Arg{{Index: 1, Mask: all, Value: 8}, {Index: 2, Mask: all, Value: 1}}},
		{Name: "rseq"},
		{Name: "set_robust_list"},
		{Name: "set_tid_address"},
		{Name: "uname"},
	}
	sortCalls(p.Calls)
	return p
}

// sortCalls orders by name and keeps the order of rules of the same name.
func sortCalls(c []Call) {
	for i := 1; i < len(c); i++ {
		for j := i; j > 0 && c[j].Name < c[j-1].Name; j-- {
			c[j], c[j-1] = c[j-1], c[j]
		}
	}
}
