package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metanode/metanode/cage"
)

// hostRoot is this machine's own root, named by what is installed on it.
func hostRoot() (*localRoot, error) {
	fingerprint, err := fingerprintOf("/")
	if err != nil {
		return nil, fmt.Errorf("root: tell what is installed on this machine: %w; give a folder instead: --rootfs DIR", err)
	}
	return &localRoot{digest: cage.HostRoot(fingerprint), dir: "/", origin: "/"}, nil
}

// fingerprintOf tells what is installed below top, the same on machines with the same packages: the system's own name,
// and each package with its version. Without a list of packages that it can read, it goes by the names and sizes of
// programs and libraries. What people have put in by hand shows only in the second case, or when programs find it.
func fingerprintOf(top string) ([]byte, error) {
	var b bytes.Buffer
	release, err := os.ReadFile(filepath.Join(top, "etc/os-release"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fmt.Fprintf(&b, "%d %s", len(release), release)
	packages, err := installed(top)
	if err != nil {
		return nil, err
	}
	if len(packages) == 0 {
		if packages, err = programs(top); err != nil {
			return nil, err
		}
	}
	slices.Sort(packages)
	for _, p := range packages {
		fmt.Fprintf(&b, "\x00%s", p)
	}
	return b.Bytes(), nil
}

// installed lists the packages of dpkg, apk or pacman, whichever there is.
func installed(top string) ([]string, error) {
	for _, db := range []struct {
		path, name, version, arch, state string
	}{
		{"var/lib/dpkg/status", "Package: ", "Version: ", "Architecture: ", "Status: "},
		{"lib/apk/db/installed", "P:", "V:", "A:", ""},
	} {
		raw, err := os.ReadFile(filepath.Join(top, db.path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var list []string
		for part := range strings.SplitSeq(string(raw), "\n\n") {
			var name, version, arch, state string
			for line := range strings.SplitSeq(part, "\n") {
				for _, f := range []struct {
					key string
					to  *string
				}{{db.name, &name}, {db.version, &version}, {db.arch, &arch}, {db.state, &state}} {
					if v, ok := strings.CutPrefix(line, f.key); ok && f.key != "" {
						*f.to = v
					}
				}
			}
			if name != "" && (db.state == "" || strings.HasSuffix(state, " installed")) {
				list = append(list, name+" "+version+" "+arch)
			}
		}
		return list, nil
	}
	entries, err := os.ReadDir(filepath.Join(top, "var/lib/pacman/local"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []string
	for _, e := range entries { // NAME-VERSION
		list = append(list, e.Name())
	}
	return list, err
}

// programs lists programs and libraries by name and size.
func programs(top string) ([]string, error) {
	var list []string
	for _, dir := range []string{"bin", "sbin", "lib", "lib64", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "usr/local/lib"} {
		entries, err := os.ReadDir(filepath.Join(top, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			n := int64(0)
			if info.Mode().IsRegular() {
				n = info.Size()
			}
			list = append(list, fmt.Sprintf("%s/%s %d", dir, e.Name(), n))
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there are no programs")
	}
	return list, nil
}
