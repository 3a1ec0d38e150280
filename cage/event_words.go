package cage

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/digest"
)

// String tells the event in words, such as "open /etc/passwd for reading → 3". The thread is not among them. An event
// that Check refuses is told by its kind.
func (e Event) String() string {
	if e.Check() != nil {
		return fmt.Sprintf("malformed event of kind %d with %d bytes", e.Kind, len(e.Payload))
	}
	switch e.Kind {
	case EventExec:
		return execWords(e.Payload)
	case EventOpen:
		opened := "opened"
		if r := e.number(1); r != Opened {
			opened = resultWords(r)
		}
		return fmt.Sprintf("open %s %s → %s", plain(e.Payload[16:]), openWords(e.number(0)), opened)
	case EventWrite:
		return fmt.Sprintf("write %s to %s, sha256 %s", count(e.number(1), "byte"),
			[]string{1: OutputStdout, 2: OutputStderr}[e.number(0)], digest.Digest(e.Payload[16:]).Short())
	case EventRandom:
		return fmt.Sprintf("take %s of randomness %s", count(e.number(0), "byte"), nameOf(purposes, e.number(1), "for purpose"))
	case EventClone:
		return cloneWords(e.number(0), e.number(1))
	case EventSignal:
		return "receive " + nameOf(signals, e.number(0), "signal")
	case EventExit:
		return exitWords(e.number(0))
	case EventLimit:
		return "the run ends: " + nameOf(limitEnds, e.number(0), "limit")
	case EventRefused:
		return fmt.Sprintf("call %s, which the cage does not have → ENOSYS", callWords(e.number(0)))
	default: // EventChange: Check knows no other
		path, other, _ := bytes.Cut(e.Payload[16:], []byte{0})
		words := callWords(e.number(0)) + " " + plain(path)
		if len(other) > 0 {
			words += " to " + plain(other)
		}
		return words + " → " + resultWords(e.number(1))
	}
}

func execWords(payload []byte) string {
	list := bytes.Split(payload[:len(payload)-1], []byte{0})
	words := "execute " + plain(list[0]) + " as"
	for i, arg := range list[1:] {
		if len(words) > 2*maxWords {
			return fmt.Sprintf("%s … (%d more)", words, len(list)-1-i)
		}
		words += " " + plain(arg)
	}
	if len(list) == 1 {
		return "execute " + plain(list[0]) + " without arguments"
	}
	return words
}

// Flags of open, as Linux on x86-64 numbers them.
const (
	oAccess    = 0x3
	oCreate    = 0x40
	oExclusive = 0x80
	oTruncate  = 0x200
	oAppend    = 0x400
	oFolder    = 0x10000
	oNoFollow  = 0x20000
	oPath      = 0x200000
	oTemporary = 0x400000
)

func openWords(flags uint64) string {
	words := []string{"for reading", "for writing", "for reading and writing", "for neither"}[flags&oAccess]
	if flags&oPath != 0 {
		words = "as a place"
	}
	if flags&oTemporary == oTemporary {
		words += ", as a file without a name"
	} else if flags&oFolder != 0 {
		words += ", a folder"
	}
	for _, f := range []struct {
		bit  uint64
		word string
	}{
		{oCreate, "made if missing"}, {oExclusive, "not if it exists"}, {oTruncate, "emptied"}, {oAppend, "at its end"},
		{oNoFollow, "no link"},
	} {
		if flags&f.bit != 0 {
			words += ", " + f.word
		}
	}
	return words
}

// resultWords tells what a call gave: a number, or the name of an error.
func resultWords(r uint64) string {
	if n := -int64(r); n > 0 && n < 4096 {
		if name, ok := farErrnos[uint64(n)]; ok {
			return name
		}
		return nameOf(errnos, uint64(n), "error")
	}
	return strconv.FormatInt(int64(r), 10)
}

func cloneWords(flags, tid uint64) string {
	const cloneVfork, cloneThread = 0x4000, 0x10000
	switch {
	case flags&cloneThread != 0:
		return fmt.Sprintf("start thread %d", tid)
	case flags&cloneVfork != 0:
		return fmt.Sprintf("start process %d and wait until it executes", tid)
	}
	return fmt.Sprintf("start process %d", tid)
}

// exitWords reads a wait status: a signal's number below, an exit code above.
func exitWords(status uint64) string {
	if sig := status & 0x7f; sig != 0 {
		return "end by " + nameOf(signals, sig, "signal")
	}
	return fmt.Sprintf("end with exit code %d", status>>8&0xff)
}

func callWords(n uint64) string {
	if name := CallName(n); name != "" {
		return name
	}
	return fmt.Sprintf("system call %d", n)
}

func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// nameOf is the n-th name of a list, or other and the number.
func nameOf(list []string, n uint64, other string) string {
	if n < uint64(len(list)) && list[n] != "" {
		return list[n]
	}
	return fmt.Sprintf("%s %d", other, n)
}

// maxWords bounds what is shown of a text that the program chose.
const maxWords = 200

// plain shows bytes that the program chose on one line: as they are if they are plain, quoted otherwise.
func plain(b []byte) string {
	more := ""
	if len(b) > maxWords {
		b, more = b[:maxWords], "…"
		for len(b) > maxWords-utf8.UTFMax && !utf8.Valid(b) {
			b = b[:len(b)-1]
		}
	}
	s := string(b)
	for _, c := range s {
		if c == utf8.RuneError || !strconv.IsPrint(c) || strings.ContainsRune(" \"'\\`", c) {
			return strconv.Quote(s) + more
		}
	}
	if s == "" {
		return `""`
	}
	return s + more
}

// The numbers of Linux on x86-64 and of the tracer, by their place in the list.
var (
	purposes = []string{1: "for getrandom", 2: "from /dev/urandom", 3: "for a program's start", 4: "for the instruction rdrand",
		5: "from /proc's uuid", 6: "for a temporary name"}
	limitEnds = []string{17: "too much output", 18: "too many system calls", 19: "too much virtual time",
		20: "too many threads and processes", 21: "a system call outside the policy", 22: "all threads wait for one another"}
	signals = append([]string{""}, strings.Fields("SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 "+
		"SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU "+
		"SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS")...)
	errnos = append([]string{""}, strings.Fields("EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM "+
		"EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE "+
		"EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP")...)
	farErrnos = map[uint64]string{61: "ENODATA", 75: "EOVERFLOW", 95: "EOPNOTSUPP", 116: "ESTALE", 122: "EDQUOT"}
)
