package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// manyValue collects a flag that may be given several times. Unlike the library's lists, it leaves commas alone: they may
// be part of a path.
type manyValue []string

func (m *manyValue) Set(s string) error { *m = append(*m, s); return nil }
func (m *manyValue) String() string     { return "" }

func manyFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage, Value: new(manyValue)}
}

func many(c *cli.Context, name string) []string {
	if v, ok := c.Generic(name).(*manyValue); ok && v != nil {
		return *v
	}
	return nil
}

// defaultEpoch is where a program's clock begins unless somebody says otherwise: a moment that is the same today and
// tomorrow, so that the same line gives the same bytes.
var defaultEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func parseEpoch(s string) (uint64, error) {
	if s == "" {
		return uint64(defaultEpoch.UnixNano()), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if seconds, numErr := strconv.ParseInt(s, 10, 64); numErr == nil {
		t, err = time.Unix(seconds, 0), nil
	}
	if err != nil {
		return 0, fmt.Errorf("--epoch %.40q: want a moment as %s, or seconds since 1970", s, defaultEpoch.Format(time.RFC3339))
	}
	last := time.Unix(0, cage.MaxEpochNs)
	if t.Before(time.Unix(0, 0)) || t.After(last) {
		return 0, fmt.Errorf("--epoch %.40q: want a moment from 1970 to %d", s, last.Year()-1)
	}
	return uint64(t.UnixNano()), nil
}

// parseSeed reads 64 hexadecimal digits; none are a seed of zeros, so that a line without a seed gives the same bytes
// each time.
func parseSeed(s string) (digest.Digest, error) {
	var d digest.Digest
	if s == "" {
		return d, nil
	}
	if len(s) != 2*digest.Size {
		return d, fmt.Errorf("--seed has %s; want %d hexadecimal digits, such as those of: openssl rand -hex %d", count(len(s), "digit"), 2*digest.Size, digest.Size)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return digest.Digest{}, fmt.Errorf("--seed: %w; want %d hexadecimal digits", err, 2*digest.Size)
	}
	return d, nil
}

// limitNames are the limits that --limit sets, with what they are.
var limitNames = []struct {
	name string
	kind string // "time", "size" or "number"
}{
	{"cpu", "time"}, {"wall", "time"}, {"time", "time"}, {"mem", "size"}, {"out", "size"}, {"files", "number"}, {"procs", "number"},
	{"started", "number"}, {"calls", "number"},
}

// parseLimits changes the limits that list names, such as "cpu=10s,mem=1g".
func parseLimits(l cage.Limits, list []string) (cage.Limits, error) {
	seen := map[string]bool{}
	for _, one := range list {
		for item := range strings.SplitSeq(one, ",") {
			name, value, ok := strings.Cut(item, "=")
			i := slices.IndexFunc(limitNames, func(n struct{ name, kind string }) bool { return n.name == name })
			if !ok || i < 0 {
				var names []string
				for _, n := range limitNames {
					names = append(names, n.name)
				}
				return l, fmt.Errorf("--limit %.40q: want NAME=VALUE with a name of %s; for example cpu=10s,mem=1g", item, strings.Join(names, ", "))
			}
			if seen[name] {
				return l, fmt.Errorf("--limit %s is given twice", name)
			}
			seen[name] = true
			v, err := parseAmount(limitNames[i].kind, value)
			if err != nil {
				return l, fmt.Errorf("--limit %s=%.40s: %w", name, value, err)
			}
			small := uint32(min(v, math.MaxUint32))
			switch name {
			case "cpu":
				l.CPUMs = v
			case "wall":
				l.WallMs = v
			case "time":
				l.VirtualMs = v
			case "mem":
				l.MemoryBytes = v
			case "out":
				l.OutputBytes = v
			case "files":
				l.Files = small
			case "procs":
				l.Processes = small
			case "started":
				l.Spawned = small
			case "calls":
				l.Calls = v
			}
		}
	}
	return l, nil
}

// parseAmount reads a time in ms, a size in bytes or a number, none of them 0.
func parseAmount(kind, s string) (uint64, error) {
	want := map[string]string{
		"time":   "want a time such as 500ms, 10s, 5m or 2h",
		"size":   "want a size such as 4096, 64k, 100m or 2g",
		"number": "want a whole number",
	}[kind]
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(s[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 64)
	factor, known := map[string]map[string]uint64{
		"time":   {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000},
		"size":   {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40},
		"number": {"": 1},
	}[kind][unit]
	if err == nil && n == 0 {
		return 0, fmt.Errorf("a limit of 0 leaves nothing to run with; %s", want)
	}
	if err != nil || !known {
		return 0, errors.New(want)
	}
	over, v := bits.Mul64(n, factor)
	if over > 0 {
		return 0, fmt.Errorf("it is too large; %s", want)
	}
	return v, nil
}

// parseEnv makes the environment of NAME=VALUE, or of NAME with the value that it has here, sorted. A later one of the
// same name replaces the one before.
func parseEnv(list []string) ([]string, error) {
	byName := map[string]string{}
	for _, v := range list {
		name, value, ok := strings.Cut(v, "=")
		if name == "" {
			return nil, fmt.Errorf("--env %.40q: want NAME=VALUE, or NAME for the value that it has here", v)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				return nil, fmt.Errorf("--env %s: it is not set here; give it a value: --env %s=VALUE", name, name)
			}
		}
		byName[name] = value
	}
	var out []string
	for name, value := range byName {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

// place pairs a name in the cage with a path on this machine.
type place struct{ name, path string }

// parseIn reads NAME=PATH, or PATH whose last name is the name.
func parseIn(list []string) ([]place, error) {
	var out []place
	for _, v := range list {
		name, p, ok := strings.Cut(v, "=")
		if !ok || strings.Contains(name, "/") { // a path that has an = in it
			p = v
			whole, err := filepath.Abs(v)
			if err != nil {
				return nil, err
			}
			name = filepath.Base(whole)
		}
		if p == "" || !plainFileName(name) {
			return nil, fmt.Errorf("--in %.80q: want NAME=PATH, where NAME is one plain name, or PATH", v)
		}
		if slices.ContainsFunc(out, func(q place) bool { return q.name == name }) {
			return nil, fmt.Errorf("--in %.80q: there is another input called %s; give it another name: --in NAME=%s", v, name, p)
		}
		out = append(out, place{name, p})
	}
	return out, nil
}

// parseOut reads NAME=PATH, or PATH whose last name is the name.
func parseOut(list []string) ([]place, error) {
	var out []place
	for _, v := range list {
		name, p, ok := strings.Cut(v, "=")
		if !ok || strings.Contains(name, "/") {
			p, name = v, filepath.Base(v)
		}
		if p == "" || !plainFileName(name) {
			return nil, fmt.Errorf("--out %.80q: want NAME=PATH or PATH, where NAME is one plain name: what the program writes to /out/NAME comes to PATH", v)
		}
		whole, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		for _, q := range out {
			if q.name == name || q.path == whole {
				return nil, fmt.Errorf("--out %.80q: the output %s goes to %s already", v, q.name, q.path)
			}
		}
		out = append(out, place{name, whole})
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func plainFileName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= cage.MaxNameBytes && !strings.ContainsAny(s, "/\x00")
}

// parseWorkdir makes the folder in which the program starts absolute, from /work on.
func parseWorkdir(s string) (string, error) {
	if s == "" {
		return cage.DefaultWorkdir, nil
	}
	if !path.IsAbs(s) {
		s = path.Join(cage.DefaultWorkdir, s)
	}
	s = path.Clean(s)
	if len(s) > cage.MaxPathBytes {
		return "", fmt.Errorf("--workdir is longer than %d bytes", cage.MaxPathBytes)
	}
	return s, nil
}
