package blob

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// maxReason bounds a pin's reason in bytes.
const maxReason = 200

// The index is an append-only log of what the store holds and why:
//
//	part CID BYTES UNIX             a fetch that began; its blocks are kept until it ends or is too old
//	root CID SHA256 BYTES KIND UNIX a whole file or folder
//	drop CID                        neither any more
//	+ CID "reason"                  a pin
//	- CID "reason"                  taken back
//
// A line counts once its end is written; what must not be lost is synced before the store says so.
type indexLine struct {
	verb   string
	cid    CID
	digest digest.Digest // of a root that is a file
	bytes  uint64        // of a root; of a part, what it may grow to
	folder bool
	unix   int64
	reason string
}

func (l indexLine) String() string {
	switch l.verb {
	case "part":
		return fmt.Sprintf("part %s %d %d\n", l.cid, l.bytes, l.unix)
	case "root":
		return fmt.Sprintf("root %s %s %d %s %d\n", l.cid, l.digest, l.bytes, Root{Folder: l.folder}.Kind(), l.unix)
	case "drop":
		return fmt.Sprintf("drop %s\n", l.cid)
	}
	return fmt.Sprintf("%s %s %s\n", l.verb, l.cid, strconv.Quote(l.reason))
}

var errNoLine = errors.New("not a line of the index")

// parseLine reads one line, without its end.
func parseLine(text string) (l indexLine, err error) {
	verb, rest, ok := strings.Cut(text, " ")
	if !ok {
		return l, errNoLine
	}
	name, rest, more := strings.Cut(rest, " ")
	l.verb = verb
	if l.cid, err = ParseCID(name); err != nil {
		return l, err
	}
	fields := strings.Split(rest, " ")
	number := func(i int) (n uint64) {
		if err == nil {
			n, err = strconv.ParseUint(fields[i], 10, 62)
		}
		return n
	}
	switch {
	case verb == "drop" && !more:
		return l, nil
	case verb == "part" && len(fields) == 2:
		l.bytes, l.unix = number(0), int64(number(1))
		return l, err
	case verb == "root" && len(fields) == 4:
		if l.digest, err = digest.Parse(fields[0]); err != nil {
			return l, err
		}
		l.bytes, l.unix = number(1), int64(number(3))
		switch fields[2] {
		case kindFolderText:
			l.folder = true
		case kindFileText:
		default:
			return l, errNoLine
		}
		return l, err
	case (verb == "+" || verb == "-") && more:
		if l.reason, err = strconv.Unquote(rest); err != nil {
			return l, err
		}
		if l.reason == "" || len(l.reason) > maxReason {
			return l, errors.New("not a pin's reason")
		}
		return l, nil
	}
	return l, errNoLine
}

const (
	kindFileText   = "file"
	kindFolderText = "folder"
)

// openIndex replays the log and writes it anew without what was taken back. The last line may be torn: it was never
// acknowledged. Any other bad line means that someone else wrote here, and is an error rather than a lost pin.
func (s *Store) openIndex() error {
	path := filepath.Join(s.root, "index")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(b)
	for n := 1; ; n++ {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			break
		}
		text = rest
		l, err := parseLine(line)
		if err != nil {
			return fmt.Errorf("%s line %d: %w; remove the line if what it names is not needed", path, n, err)
		}
		s.replay(l)
	}
	return s.rewriteIndex(path)
}

// replay applies one line.
func (s *Store) replay(l indexLine) {
	switch l.verb {
	case "part":
		s.setPart(l.cid, l.bytes, time.Unix(l.unix, 0))
	case "root":
		s.setRoot(Root{CID: l.cid, Digest: l.digest, Bytes: l.bytes, Folder: l.folder}, time.Unix(l.unix, 0))
	case "drop":
		s.forget(l.cid)
	case "+":
		if e := s.roots[l.cid]; e != nil {
			s.setPin(e, l.reason)
		}
	case "-":
		if e := s.roots[l.cid]; e != nil {
			s.clearPin(e, l.reason)
		}
	}
}

func (s *Store) rewriteIndex(path string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return diskError("write blob index", err)
	}
	w := bufio.NewWriter(f)
	n := 0
	for _, c := range s.sorted() {
		for _, l := range s.roots[c].lines() {
			_, _ = w.WriteString(l.String()) // Flush tells
			n++
		}
	}
	err = w.Flush()
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncPath(s.root)
	}
	if err != nil {
		_ = f.Close()
		return diskError("write blob index", err)
	}
	s.log, s.lines, s.stale = f, n, false
	return nil
}

// lines is what the index says of one entry.
func (e *entry) lines() []indexLine {
	l := indexLine{verb: "root", cid: e.CID, digest: e.Digest, bytes: e.Bytes, folder: e.Folder, unix: e.used.Unix()}
	if e.part {
		l = indexLine{verb: "part", cid: e.CID, bytes: e.Bytes, unix: e.used.Unix()}
	}
	list := []indexLine{l}
	for _, r := range sortedKeys(e.reasons) {
		list = append(list, indexLine{verb: "+", cid: e.CID, reason: r})
	}
	return list
}

// write appends lines as one, and syncs them if they must not be lost. The caller holds the lock.
func (s *Store) write(sync bool, lines ...indexLine) error {
	if s.log == nil {
		return errClosed
	}
	end, err := s.log.Seek(0, 2)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.String())
	}
	_, err = s.log.WriteString(b.String())
	if err == nil && sync {
		err = s.log.Sync()
	}
	if err != nil {
		_ = s.log.Truncate(end) // half a line would hide the next one
		return diskError("write blob index", err)
	}
	s.lines += len(lines)
	s.stale = s.lines > s.compactAt && s.lines > 8*len(s.roots)
	return nil
}

// compactAt is the number of lines from which the index is written anew when most of them are of the past.
const compactAt = 1 << 16

// compact writes the index anew if most of it is of the past. The caller holds the lock, and has applied what it wrote.
func (s *Store) compact() {
	if !s.stale || s.log == nil {
		return
	}
	old := s.log
	if err := s.rewriteIndex(filepath.Join(s.root, "index")); err != nil {
		s.compactAt, s.stale = 2*s.lines, false // the old one goes on, and this is tried again later
		return
	}
	_ = old.Close() // nothing is written to it any more
}

// sorted is the names of all entries, in order.
func (s *Store) sorted() []CID {
	list := make([]CID, 0, len(s.roots))
	for c := range s.roots {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b CID) int { return strings.Compare(a.KeyString(), b.KeyString()) })
	return list
}

func sortedKeys(m map[string]bool) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
