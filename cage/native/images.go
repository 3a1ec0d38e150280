package native

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

//go:embed bin
var bin embed.FS

// errNotBuilt: this bpi has been built without one of the programs that are embedded in it.
var errNotBuilt = errors.New("this bpi was built without its cage; run: make build")

// install writes an embedded program where it can be executed, and gives its path.
func install(name, dir string) (string, error) {
	b, err := bin.ReadFile("bin/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNotBuilt
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	path := filepath.Join(dir, strings.TrimPrefix(name, "docklock-")+"-"+digest.Of(b).Short())
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return path, nil
	}
	if err := writeExecutable(path, bytes.NewReader(b)); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return path, nil
}

// image is an engine image at hand.
type image struct {
	digest digest.Digest
	file   *os.File // open for reading, executable
	zygote bool     // links docklock.c
}

// image gives the image named d, which is copied into the engine's folder on first use: a blob in a store is neither
// executable nor readable for the cage's unprivileged identity.
func (e *Engine) image(d digest.Digest, files cage.Files) (image, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if im, ok := e.images[d]; ok {
		return im, nil
	}
	if e.closed {
		return image{}, errors.New("the cage is closed")
	}
	path := filepath.Join(e.cfg.Dir, "images", d.String())
	if sum, err := fileDigest(path); err != nil || sum != d {
		if err := e.copyImage(d, files, path); err != nil {
			return image{}, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return image{}, fmt.Errorf("open engine image %s: %w", d.Short(), err)
	}
	zygote, err := checkImage(f)
	if err != nil {
		f.Close()
		return image{}, fmt.Errorf("engine image %s: %w", d.Short(), err)
	}
	im := image{digest: d, file: f, zygote: zygote}
	e.images[d] = im
	return im, nil
}

func (e *Engine) copyImage(d digest.Digest, files cage.Files, path string) error {
	src, err := files.Path(d)
	if err != nil {
		return fmt.Errorf("engine image %s: %w", d.Short(), err)
	}
	f, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("engine image %s: %w", d.Short(), err)
	}
	defer f.Close()
	if err := writeExecutable(path, f); err != nil {
		return fmt.Errorf("copy engine image %s: %w", d.Short(), err)
	}
	sum, err := fileDigest(path)
	if err == nil && sum != d {
		err = fmt.Errorf("file %s holds %s instead; fetch the blob again", src, sum.Short())
	}
	if err != nil {
		_ = os.Remove(path) // the next use would find it wrong again
		return fmt.Errorf("copy engine image %s: %w", d.Short(), err)
	}
	return nil
}

// writeExecutable writes path so that it is there whole or not at all.
func writeExecutable(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	if _, err = io.Copy(f, r); err == nil {
		err = f.Chmod(0o555)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

func fileDigest(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return digest.Digest{}, err
	}
	var d digest.Digest
	h.Sum(d[:0])
	return d, nil
}

// checkImage accepts static x86-64 programs, and reports whether f can be a zygote.
func checkImage(f *os.File) (zygote bool, err error) {
	x, err := elf.NewFile(f)
	if err != nil {
		return false, fmt.Errorf("not an ELF program: %w", err)
	}
	if x.Machine != elf.EM_X86_64 || (x.Type != elf.ET_EXEC && x.Type != elf.ET_DYN) {
		return false, fmt.Errorf("not an x86-64 program: %v, %v", x.Machine, x.Type)
	}
	for _, p := range x.Progs {
		if p.Type == elf.PT_INTERP {
			return false, errors.New("not a static program: link it with -static")
		}
	}
	return x.Section(".note.docklock") != nil, nil
}
