// Package native runs Linux programs in DockLock's cage, as root and as an ordinary user, with the same result.
//
// Three kinds of process take part. The Engine, here, in the node. A small C supervisor for each engine image in use,
// the only one besides the node that sees host files; it composes each job's root (inputs read-only, an empty /tmp and
// /out) and hands it over as a detached mount. And the zygote, in a user namespace of its own with nothing mapped but
// one unprivileged identity and with empty mount, pid, net, ipc and uts namespaces, which forks each job into fresh ones.
//
// A zygote is the engine image itself, if it links zygote/docklock.c (package folder zygote; see docklock.h): warm once,
// forked for each job. Any other static program is executed for each job, by a supervisor that serves as its zygote.
// Either way the walls around a job are the same code.
//
// What ends with what: the node's death closes the supervisor's socket, which ends it; its end kills the zygote
// (PDEATHSIG), and the zygote is the init of the pid namespace above all its jobs. Mounts live in the supervisor's
// private namespace or are detached, so none outlives its processes.
//
// Not covered: a sealed program is trusted not to print what identifies the machine and needs no system call to be
// known, such as the kernel's data page of coarse clocks, CPUID, and inodes and times of its inputs. Physical memory is
// bounded per process by address space, and /tmp and /out by their sizes, not by a cgroup.
package native
