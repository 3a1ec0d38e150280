package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/cage"
)

// report shows what the program wrote, brings its outputs to their places and says how it ended.
func (r *localRun) report(e *env, l *localCage, rec *cage.Recording) error {
	if r.inputs.empty > 0 {
		e.say("note: %s without a file %s left out of the inputs", count(r.inputs.empty, "folder"), map[bool]string{true: "was", false: "were"}[r.inputs.empty == 1])
	}
	if r.keep != "" {
		raw, err := rec.Encode()
		if err == nil {
			err = writeWhole(r.keep, raw)
		}
		if err != nil {
			return fmt.Errorf("keep the recording: %w", err)
		}
	}
	failure := r.failure(l, rec)
	missing, err := r.deliver(e, l, rec)
	if err == nil && failure == nil {
		err = missing
	}
	if e.json {
		if werr := r.writeJSON(e, l, rec); werr != nil {
			return werr
		}
	} else if rec.Start == "" { // else its standard error is only the cause, which failure tells
		if werr := relay(e, l); werr != nil {
			return werr
		}
	}
	if r.keep != "" {
		e.say("witness %s, recorded in %s; run it again with: bpi container verify %s", rec.Result.Witness.Short(), r.keep, r.keep)
	}
	if failure != nil {
		return errors.Join(failure, err)
	}
	return err
}

// relay writes what the program wrote to its own standard output and error.
func relay(e *env, l *localCage) error {
	for _, s := range []struct {
		name string
		to   io.Writer
	}{{cage.OutputStdout, e.out}, {cage.OutputStderr, e.err}} {
		f, err := os.Open(filepath.Join(outputsOf(l), s.name))
		if err != nil {
			return err
		}
		_, err = io.Copy(s.to, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("write the program's %s: %w", s.name, err)
		}
	}
	return nil
}

// deliver brings the outputs to their places. missing says which the program did not make.
func (r *localRun) deliver(e *env, l *localCage, rec *cage.Recording) (missing, err error) {
	made := map[string]bool{}
	others := map[string]bool{}
	for _, o := range rec.Result.Outputs {
		file, ok := strings.CutPrefix(o.Name, cage.OutputPrefix)
		if !ok {
			continue
		}
		top, _, _ := strings.Cut(file, "/")
		if slices.Contains(r.spec.Outs, top) {
			made[top] = true
		} else {
			others[top] = true
		}
	}
	for _, o := range r.outs {
		if !made[o.name] {
			missing = errors.Join(missing, fail(exitProgram, "the program left no file in /out/%s, the output %s; let it write one there, or leave out --out %s", o.name, o.name, o.name))
			continue
		}
		if err := deliver(filepath.Join(outputsOf(l), "out", o.name), o, r.force); err != nil {
			return missing, err
		}
	}
	for _, name := range sortedKeys(others) {
		e.say("note: the program left /out/%s, which no --out asks for; to have it: --out %s", clean(name), clean(name))
	}
	return missing, nil
}

func sortedKeys(m map[string]bool) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// failure is nil if the program ended well.
func (r *localRun) failure(l *localCage, rec *cage.Recording) error {
	res := &rec.Result
	code := int(res.ExitCode)
	switch {
	case rec.Start != "":
		next := "make it executable, or name the program that reads it, as in: sh FILE"
		if code == cage.ExitNotFound {
			next = "look what the root has, as in: bpi container run -- ls /usr/bin"
			if r.inputs.root.origin != "/" {
				next = "look what the root has, as in: ls " + filepath.Join(l.roots(), r.spec.Image.String(), "usr/bin")
			}
		}
		return &exitError{code: exitUsage, err: &programError{code, fmt.Sprintf("program %s cannot start: %s; %s", r.spec.Argv[0], rec.Start, next)}}
	case res.Killed != "":
		return &exitError{code: exitProgram, err: &programError{code, "the program was ended by the cage: " + killedText(res.Killed, &r.spec, r.policyRef)}}
	case code > 128 && signalName(code-128) != "":
		return &exitError{code: exitProgram, err: &programError{code, fmt.Sprintf("program exited with %d, as one that %s ended", code, signalName(code-128))}}
	case code != 0:
		return &exitError{code: exitProgram, err: &programError{code, fmt.Sprintf("program exited with %d", code)}}
	}
	return nil
}

// writeJSON tells everything about the run in one object.
func (r *localRun) writeJSON(e *env, l *localCage, rec *cage.Recording) error {
	v := recordingJSON(rec)
	outputs := []map[string]any{}
	for _, o := range rec.Result.Outputs {
		m := map[string]any{"name": o.Name, "digest": o.Digest, "bytes": o.Bytes}
		file, ok := strings.CutPrefix(o.Name, cage.OutputPrefix)
		top, rest, _ := strings.Cut(file, "/")
		for _, p := range r.outs {
			if ok && p.name == top {
				m["path"] = filepath.Join(p.path, filepath.FromSlash(rest))
			}
		}
		outputs = append(outputs, m)
	}
	v["outputs"] = outputs
	for _, name := range []string{cage.OutputStdout, cage.OutputStderr} {
		b, err := os.ReadFile(filepath.Join(outputsOf(l), name))
		if err != nil {
			return err
		}
		if utf8.Valid(b) && !bytes.ContainsRune(b, 0) {
			v[name] = string(b)
		} else {
			v[name+"_base64"] = base64.StdEncoding.EncodeToString(b)
		}
	}
	return writeJSON(e.out, v)
}
