package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

func containerVerifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "run what a recording tells of again, and say whether it went the same way", ArgsUsage: "FILE",
		Description: "The recording knows the program, its limits, its seed and the digests of everything that it read, and where that was.\n" +
			"What is somewhere else now, or on another machine, is named with --in, --work and --rootfs. Exit code 0: the same\n" +
			"witness, and so the same events and the same bytes; 5: what differs first is told; 4: this run gave no result.",
		Flags: []cli.Flag{
			manyFlag("in", "`NAME=PATH`: where the input NAME is now (repeatable)"),
			&cli.StringFlag{Name: "work", Usage: "the folder `DIR` that was given with --work, where it is now"},
			&cli.BoolFlag{Name: "host-root", Usage: "in this machine's own root, wherever the recording was made"},
			&cli.StringFlag{Name: "rootfs", Usage: "the root is in the folder `DIR` now"},
		},
		Action: action(containerVerify),
	}
}

// readRecording reads a file that container run has written.
func readRecording(path string) (*cage.Recording, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("recording %s: there is no such file; make one with: bpi container run --witness %s -- CMD", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, cage.MaxRecordingBytes+1))
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", path, err)
	}
	rec, err := cage.DecodeRecording(raw)
	if err != nil {
		return nil, fail(exitInvalid, "%s is no whole recording of bpi container run: %w", path, err)
	}
	return rec, nil
}

func containerVerify(c *cli.Context, e *env) error {
	path, err := argument(c, "recording")
	if err != nil {
		return err
	}
	moved, err := parseIn(many(c, "in"))
	if err != nil {
		return usageError(fmt.Errorf("bpi container verify: %w", err))
	}
	if c.Bool("host-root") && c.String("rootfs") != "" {
		return usageError(errors.New("bpi container verify: want either --host-root or --rootfs DIR"))
	}
	rec, err := readRecording(path)
	if err != nil {
		return err
	}
	if rec.Spec.Mode == cage.ModeSealed {
		return fmt.Errorf("%s is of a sealed run, of which nothing is recorded", path)
	}
	if err := unusedMoves(rec, moved); err != nil {
		return usageError(fmt.Errorf("bpi container verify: %w", err))
	}
	policy, err := cage.ParsePolicy(rec.Policy)
	if err != nil {
		return err // it was read before
	}
	l, err := openCage(e, policy)
	if err != nil {
		return err
	}
	defer l.close()
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	r := &localRun{policy: policy, spec: rec.Spec}
	if r.inputs.root, err = rootAgain(ctx, c, l, rec); err != nil {
		return interrupted(c.Context, err)
	}
	if err := r.inputs.again(ctx, rec, moved, c.String("work")); err != nil {
		return interrupted(c.Context, err)
	}
	now, err := r.record(ctx, l)
	if err != nil {
		return interrupted(c.Context, err)
	}
	return sayDifference(e, rec, now, path, "this run")
}

// unusedMoves refuses a --in that names none of the recording's inputs.
func unusedMoves(rec *cage.Recording, moved []place) error {
	var names []string
	for _, in := range rec.Spec.Inputs {
		if in.Place == cage.PlaceIn {
			top, _, _ := strings.Cut(in.Path, "/")
			names = append(names, top)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, m := range moved {
		if !slices.Contains(names, m.name) {
			return fmt.Errorf("--in %s: the recording has no such input; it has: %s", m.name, orElse(strings.Join(names, ", "), "none"))
		}
	}
	return nil
}

func hintOf(rec *cage.Recording, name string) string {
	for _, h := range rec.Hints {
		if h.Name == name {
			return h.Path
		}
	}
	return ""
}

// rootAgain finds the recording's root, and refuses one that has changed.
func rootAgain(ctx context.Context, c *cli.Context, l *localCage, rec *cage.Recording) (*localRoot, error) {
	dir := orElse(c.String("rootfs"), hintOf(rec, "root"))
	if c.Bool("host-root") {
		dir = "/"
	}
	var r *localRoot
	var err error
	switch info, serr := os.Stat(dir); {
	case dir == "":
		return nil, errors.New("the recording does not tell where its root was; name it: --host-root, or --rootfs DIR")
	case serr != nil:
		return nil, fmt.Errorf("root: %w; say where it is now: --rootfs DIR", serr)
	case dir == "/":
		r, err = hostRoot()
	case info.IsDir():
		r, err = folderRoot(ctx, dir, l.roots(), l.run)
	default:
		r = &localRoot{archive: dir, origin: dir}
		if r.archive, err = filepath.Abs(dir); err == nil {
			r.digest, _, err = hashFile(ctx, dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if r.digest != rec.Spec.Image {
		next := "give the root as it was: --rootfs DIR"
		if dir == "/" {
			next = "what is installed here is not what was there: go where the same packages are installed, or record with --rootfs DIR, which can be kept and copied"
		}
		return nil, fmt.Errorf("the root %s is not that of the recording: it is sha256:%s now, and was sha256:%s; %s", dir, r.digest.Short(), rec.Spec.Image.Short(), next)
	}
	return r, nil
}

// again finds the inputs of a recording where they are now, and refuses those that have changed.
func (l *localInputs) again(ctx context.Context, rec *cage.Recording, moved []place, work string) error {
	l.byBytes = map[digest.Digest]string{}
	for _, in := range rec.Spec.Inputs {
		p := hintOf(rec, in.At())
		how := "--work DIR"
		if in.Place == cage.PlaceWork {
			if work != "" {
				p = filepath.Join(work, filepath.FromSlash(in.Path))
			}
		} else {
			top, rest, _ := strings.Cut(in.Path, "/")
			how = "--in " + top + "=PATH"
			for _, m := range moved {
				if m.name == top {
					p = filepath.Join(m.path, filepath.FromSlash(rest))
				}
			}
		}
		if p == "" {
			return fmt.Errorf("the recording does not tell where the input %s was; say where it is: %s", in.At(), how)
		}
		p, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("input %s: there is no %s any more; say where it is now: %s", in.At(), p, how)
		}
		if err != nil {
			return fmt.Errorf("input %s: %w", in.At(), err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("input %s: %s is no regular file; say where it is now: %s", in.At(), p, how)
		}
		sum, n, err := hashFile(ctx, p)
		if err != nil {
			return fmt.Errorf("input %s: %w", in.At(), err)
		}
		if sum != in.Digest {
			return fmt.Errorf("input %s has changed: %s holds %d bytes, sha256:%s, and the recording is of %d bytes, sha256:%s; say where the old ones are: %s",
				in.At(), p, n, sum.Short(), in.Bytes, in.Digest.Short(), how)
		}
		l.list = append(l.list, localInput{input: in, path: p, stat: info})
		l.byBytes[sum] = p
	}
	return nil
}
