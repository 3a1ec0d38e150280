package blob

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// maxReason bounds a pin's reason in bytes.
const maxReason = 200

// Pin keeps a blob from being collected, for a reason ("job 17", "dataset users"). A blob may have several reasons and
// need not be here yet. The pin is durable on return; the same pin again changes nothing.
func (s *Store) Pin(d digest.Digest, reason string) error {
	if len(reason) == 0 || len(reason) > maxReason {
		return fmt.Errorf("pin blob %s: reason of %d bytes, want 1 to %d", d, len(reason), maxReason)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[d][reason] {
		return nil
	}
	if err := s.logPin('+', d, reason); err != nil {
		return fmt.Errorf("pin blob %s: %w", d, err)
	}
	s.setPin(d, reason)
	return nil
}

// Unpin takes one reason back. The blob stays until it is collected. One that was not pinned so changes nothing. It is
// durable with the next pin: a crash before may bring the reason back, and Reasons tells.
func (s *Store) Unpin(d digest.Digest, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pins[d][reason] {
		return nil
	}
	if err := s.logPin('-', d, reason); err != nil {
		return fmt.Errorf("unpin blob %s: %w", d, err)
	}
	s.clearPin(d, reason)
	return nil
}

// Pins is the reasons for which a blob is kept, in order.
func (s *Store) Pins(d digest.Digest) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for r := range s.pins[d] {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

func (s *Store) setPin(d digest.Digest, reason string) {
	if s.pins[d] == nil {
		s.pins[d] = map[string]bool{}
	}
	s.pins[d][reason] = true
	if s.pinned[reason] == nil {
		s.pinned[reason] = map[digest.Digest]bool{}
	}
	s.pinned[reason][d] = true
}

func (s *Store) clearPin(d digest.Digest, reason string) {
	delete(s.pins[d], reason)
	if len(s.pins[d]) == 0 {
		delete(s.pins, d)
	}
	delete(s.pinned[reason], d)
	if len(s.pinned[reason]) == 0 {
		delete(s.pinned, reason)
	}
}

// logPin appends one line, and syncs it if it is a new pin.
func (s *Store) logPin(sign byte, d digest.Digest, reason string) error {
	if s.log == nil {
		return errors.New("the blob store is closed")
	}
	end, err := s.log.Seek(0, 2)
	if err != nil {
		return err
	}
	_, err = s.log.WriteString(pinLine(sign, d, reason))
	if err == nil && sign == '+' {
		err = s.log.Sync()
	}
	if err != nil {
		_ = s.log.Truncate(end) // half a line would hide the next one
		return diskError("write pin log", err)
	}
	return nil
}

func pinLine(sign byte, d digest.Digest, reason string) string {
	return string(sign) + " " + d.String() + " " + strconv.Quote(reason) + "\n"
}

// parsePin reads one line of the log.
func parsePin(line string) (sign byte, d digest.Digest, reason string, err error) {
	parts := strings.SplitN(line, " ", 3)
	if len(parts) != 3 || (parts[0] != "+" && parts[0] != "-") {
		return 0, d, "", errors.New("not a pin")
	}
	if d, err = digest.Parse(parts[1]); err != nil {
		return 0, d, "", err
	}
	if reason, err = strconv.Unquote(parts[2]); err != nil {
		return 0, d, "", err
	}
	if reason == "" || len(reason) > maxReason {
		return 0, d, "", errors.New("not a pin's reason")
	}
	return parts[0][0], d, reason, nil
}

// openPins replays the log and writes it anew without what was taken back. The last line may be torn: it was never
// acknowledged. Any other bad line means that someone else wrote here, and is an error rather than a lost pin.
func (s *Store) openPins() error {
	path := s.dir("pins")
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
		sign, d, reason, err := parsePin(line)
		if err != nil {
			return fmt.Errorf("%s line %d: %w; remove the line if the pin is not needed", path, n, err)
		}
		if sign == '+' {
			s.setPin(d, reason)
		} else {
			s.clearPin(d, reason)
		}
	}
	return s.rewritePins(path)
}

func (s *Store) rewritePins(path string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return diskError("write pin log", err)
	}
	w := bufio.NewWriter(f)
	for _, d := range s.pinnedBlobs() {
		for r := range s.pins[d] {
			_, _ = w.WriteString(pinLine('+', d, r)) // Flush tells
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
		err = syncDir(s.root)
	}
	if err != nil {
		_ = f.Close()
		return diskError("write pin log", err)
	}
	s.log = f
	return nil
}

func (s *Store) pinnedBlobs() []digest.Digest {
	var out []digest.Digest
	for d := range s.pins {
		out = append(out, d)
	}
	slices.SortFunc(out, digest.Digest.Compare)
	return out
}
