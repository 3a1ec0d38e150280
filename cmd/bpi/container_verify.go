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
		Flags: append(rootFlags(), []cli.Flag{
			manyFlag("in", "`NAME=PATH`: where the input NAME is now (repeatable)"),
			&cli.StringFlag{Name: "work", Usage: "the folder `DIR` that was given with --work, where it is now"},
		}...),
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
	if err := oneRoot(c); err != nil {
		return usageError(fmt.Errorf("bpi container verify: %w", err))
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
		return interrupted(c.Context, err)
	}
	defer l.close()
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	r := &localRun{policy: policy, spec: rec.Spec}
	if r.inputs.root, err = rootAgain(ctx, c, e, l, rec); err != nil {
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

// rootAgain finds the recording's root, where the flags say or where it was, and refuses another one. A root that is
// unpacked here is it, whatever became of what it was packed from.
func rootAgain(ctx context.Context, c *cli.Context, e *env, l *localCage, rec *cage.Recording) (*localRoot, error) {
	origin, want := hintOf(rec, "root"), rec.Spec.Image
	r, err := chooseRoot(ctx, c, e, l)
	if r == nil && err == nil {
		r = l.unpacked(want, origin)
	}
	if r == nil && err == nil {
		switch ref, image := strings.CutPrefix(origin, originImage); {
		case image:
			r, err = imageRoot(ctx, e, ref, l)
		case origin == "/":
			r, err = hostRoot()
		case origin == "":
			err = errors.New("the recording does not tell where its root was; name it with --host-root, --rootfs DIR or --image NAME")
		default:
			r, err = folderRoot(ctx, origin, l)
		}
	}
	if err != nil || r.digest == want {
		return r, err
	}
	next := "name the root as it was: --rootfs DIR, or --image NAME"
	if r.origin == "/" {
		next = "what is installed here is not what was there: go where the same packages are installed, or record in a root that can be kept: --rootfs DIR"
	}
	return nil, fmt.Errorf("the root %s is not that of the recording: it is sha256:%s, and that was sha256:%s; %s", r.origin, r.digest.Short(), want.Short(), next)
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
