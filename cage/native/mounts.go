package native

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/metanode/metanode/cage"
)

const pageBytes = 4096

// plan is the list of mounts while it grows. No place in it ever lies below a link or in a folder of the host, so that
// the tracer makes nothing but in the cage's own root.
type plan struct {
	list     []mount
	made     map[string]bool // folders that are there
	writable bool            // by the policy
}

// add appends a mount, after the folders above it.
func (p *plan) add(kind byte, place, source string) {
	if up := path.Dir(place); up != "/" && !p.made[up] {
		p.add(mountFolder, up, "")
	}
	if kind == mountFolder || kind == mountTmpfs {
		if kind == mountFolder && p.made[place] {
			return
		}
		p.made[place] = true
	}
	p.list = append(p.list, mount{kind, place, source})
}

// special are names at the top of the root that are the cage's own and not the root archive's. /sys is there, and empty.
var special = []string{"dev", "in", "out", "proc", "root", "run", "sys", "tmp", "work"}

// planMounts gives the list from which the tracer composes the root: the root folder read-only, the inputs, and what the
// program may write. root is an unpacked root archive, or "/".
func planMounts(root string, spec *cage.Spec, writable bool, files cage.Files) ([]mount, error) {
	p := &plan{made: map[string]bool{}, writable: writable}
	var err error
	if root == "/" {
		err = p.hostRoot()
	} else {
		err = p.root(root)
	}
	if err != nil {
		return nil, fmt.Errorf("show the root %s: %w", spec.Image.Short(), err)
	}
	p.add(mountFolder, "/sys", "")
	if err := p.places(spec); err != nil {
		return nil, err
	}
	for i := range spec.Inputs {
		if err := p.input(&spec.Inputs[i], files); err != nil {
			return nil, err
		}
	}
	return p.list, nil
}

// hostRoot shows of the host what holds programs, their libraries and their settings.
func (p *plan) hostRoot() error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !slices.Contains([]string{"bin", "etc", "opt", "sbin", "usr"}, name) && !strings.HasPrefix(name, "lib") {
			continue
		}
		if err := p.entry("/", e, "/"+name); err != nil {
			return err
		}
	}
	p.add(mountFolder, "/var", "")
	return nil
}

// root shows what the folder dir holds, but for the cage's own places.
func (p *plan) root(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case slices.Contains(special, name):
		case name == "var":
			// Taken apart, since its tmp is another folder. Whatever else it may be is not shown: nothing may be put below a link.
			p.add(mountFolder, "/var", "")
			if e.IsDir() {
				if err := p.variable(filepath.Join(dir, "var")); err != nil {
					return err
				}
			}
		default:
			if err := p.entry(dir, e, "/"+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) variable(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "tmp" {
			continue
		}
		if err := p.entry(dir, e, "/var/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// entry shows what stands in the host's folder dir at place.
func (p *plan) entry(dir string, e fs.DirEntry, place string) error {
	source := filepath.Join(dir, e.Name())
	switch {
	case e.IsDir():
		p.add(mountTree, place, source)
	case e.Type().IsRegular():
		p.add(mountFile, place, source)
	case e.Type() == fs.ModeSymlink:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		p.add(mountLink, place, to)
	}
	return nil // devices, sockets and FIFOs are no part of a root
}

// places makes the places that the program may write, or without them the folders that it finds all the same.
func (p *plan) places(spec *cage.Spec) error {
	if !p.writable {
		if len(spec.Outs) > 0 {
			return fmt.Errorf("output %q: the policy gives the program nothing to write; leave the output out, or take another policy", spec.Outs[0])
		}
		for _, place := range []string{"/in", "/root", "/run", "/tmp", "/var/tmp", "/work"} {
			p.add(mountFolder, place, "")
		}
		return nil
	}
	var copies uint64
	for _, in := range spec.Inputs {
		if in.Place == cage.PlaceWork {
			copies += (in.Bytes/pageBytes + 2) * pageBytes // the file, and a page for the folders above it
		}
	}
	p.add(mountFolder, "/in", "")
	for _, place := range []string{"/root", "/run", "/tmp", "/var/tmp"} {
		p.tmpfs(place, spec.Limits.MemoryBytes)
	}
	p.tmpfs("/work", spec.Limits.MemoryBytes+copies)
	// Room for OutputBytes and one part-filled page a file: the sum is judged when the program has ended.
	p.tmpfs("/out", spec.Limits.OutputBytes+(cage.MaxOutputFiles+1)*pageBytes)
	for _, name := range spec.Outs {
		p.add(mountFolder, "/out/"+name, "")
	}
	return nil
}

func (p *plan) tmpfs(place string, size uint64) {
	p.add(mountTmpfs, place, strconv.FormatUint(size, 10))
}

// input shows one input. A program among those in /in is copied too: the file in a node's store is not executable.
func (p *plan) input(in *cage.Input, files cage.Files) error {
	source, err := inputPath(in, files)
	if err != nil {
		return err
	}
	kind := byte(mountFile)
	switch {
	case in.Exec:
		kind = mountCopyExec
	case in.Place == cage.PlaceWork:
		kind = mountCopy
	}
	if in.Place == cage.PlaceWork && !p.writable {
		return fmt.Errorf("input %q: it should be writable, and the policy gives the program nothing to write; take another policy", in.Path)
	}
	p.add(kind, in.At(), source)
	return nil
}

// inputPath is where the bytes of an input are on this machine.
func inputPath(in *cage.Input, files cage.Files) (string, error) {
	p, err := files.Path(in.Digest)
	if err != nil {
		return "", fmt.Errorf("input %q (%s): %w", in.Path, in.Digest.Short(), err)
	}
	if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("input %q: its local path %q is not absolute", in.Path, p)
	}
	st, err := os.Stat(p)
	if err != nil {
		return "", fmt.Errorf("input %q: %w", in.Path, err)
	}
	if uint64(st.Size()) != in.Bytes || !st.Mode().IsRegular() {
		return "", fmt.Errorf("input %q: %s holds %d bytes, the spec says %d; fetch the blob again", in.Path, p, st.Size(), in.Bytes)
	}
	return p, nil
}
