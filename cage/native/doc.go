// Package native runs Linux programs in DockLock's cage, as root and as an ordinary user, with the same result.
//
// # Sealed
//
// Three kinds of process take part. The Engine, here, in the node. A small C supervisor for each engine image in use,
// the only one besides the node that sees host files; it composes each job's root (inputs read-only, an empty /tmp and
// /out) and hands it over as a detached mount. And the zygote, in a user namespace of its own with nothing mapped but
// one unprivileged identity and with empty mount, pid, net, ipc and uts namespaces, which forks each job into fresh
// mount and pid namespaces (decision 22).
//
// A zygote is the engine image itself, if it links zygote/docklock.c (package folder zygote; see docklock.h): warm once,
// forked for each job. Any other static program is executed for each job, by a supervisor that serves as its zygote.
// Either way the walls around a job are the same code.
//
// What ends with what: the node's death closes the supervisor's socket, which ends it; its end kills the zygote
// (PDEATHSIG), and the zygote is the init of the pid namespace above all its jobs. Mounts live in the supervisor's
// private namespace or are detached, so none outlives its processes.
//
// # Strict and relaxed
//
// Each run has a docklock-tracer of its own (folder tracer; wire.h says what it and the node say to each other). The node
// plans the mounts: a root, unpacked once from its archive or the host's own programs, the inputs, and what may be
// written. The tracer composes them, enters fresh namespaces, becomes the unprivileged user, and traces the program: it
// answers what a machine would decide, lets one thread run at a time in strict mode, and tells each event over a pipe.
// The node chains the events meanwhile on another processor, judges the tracer's last word, and collects the outputs.
//
// The tracer ends its cage and waits for it when the node closes its end of the socket. Should it be killed, PTRACE_O_EXITKILL
// and PDEATHSIG end the program and the init of its pid namespace, and the node waits for both; should the node be
// killed, PDEATHSIG ends the tracer.
//
// # Not covered
//
// A sealed program is trusted not to print what identifies the machine and needs no system call to be
// known, such as the kernel's data page of coarse clocks, CPUID, and inodes and times of its inputs. Physical memory is
// bounded per process by address space, and /tmp and /out by their sizes, not by a cgroup; in strict and relaxed mode the
// tracer also adds up what all processes and writable places use, and ends the run without a result past the limit.
package native
