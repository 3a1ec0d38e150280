package native

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// blobs is a cage.Files over a folder of files named by digest.
type blobs string

func (b blobs) put(t *testing.T, text string) digest.Digest {
	t.Helper()
	d := digest.Of([]byte(text))
	write(t, filepath.Join(string(b), d.String()), text)
	return d
}

func (b blobs) Path(d digest.Digest) (string, error) {
	p := filepath.Join(string(b), d.String())
	_, err := os.Stat(p)
	return p, err
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func told(list []mount, root string) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%c %s %s\n", m.kind, m.place, strings.ReplaceAll(m.source, root, "ROOT"))
	}
	return b.String()
}

func strictSpec(inputs ...cage.Input) *cage.Spec {
	s := &cage.Spec{Mode: cage.ModeStrict, Workdir: "/work", Inputs: inputs, Limits: cage.DefaultLimits()}
	s.Limits.MemoryBytes, s.Limits.OutputBytes = 1<<20, 4096
	return s
}

func TestRootIsComposed(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/usr/bin/sh", "")
	write(t, root+"/etc/passwd", "")
	write(t, root+"/note", "")
	write(t, root+"/var/lib/x", "")
	write(t, root+"/var/tmp/left", "")
	write(t, root+"/proc/version", "the root's")
	write(t, root+"/dev/null", "")
	write(t, root+"/sys/x", "")
	write(t, root+"/work/own", "")
	write(t, root+"/tmp/left", "")
	link(t, "usr/bin", root+"/bin")
	link(t, "/etc/shadow", root+"/out")
	link(t, "../run", root+"/var/run")
	files := blobs(t.TempDir())
	in := func(path, text, place string, exec bool) cage.Input {
		return cage.Input{Path: path, Digest: files.put(t, text), Bytes: uint64(len(text)), Place: place, Exec: exec}
	}
	spec := strictSpec(in("a/b/1", "one", "", false), in("a/b/2", "two", "", true), in("p", "three", "", false),
		in("src/Makefile", "four", "work", false), in("src/run", "five", "work", true))
	spec.Outs = []string{"r1", "r2"}
	list, err := planMounts(root, spec, true, files)
	if err != nil {
		t.Fatal(err)
	}
	text := told(list, root)
	text = strings.ReplaceAll(text, string(files)+"/", "FILE ")
	for _, in := range spec.Inputs {
		text = strings.ReplaceAll(text, in.Digest.String(), in.Path)
	}
	want := `l /bin usr/bin
r /etc ROOT/etc
f /note ROOT/note
r /usr ROOT/usr
d /var 
r /var/lib ROOT/var/lib
l /var/run ../run
d /sys 
d /in 
t /root 1048576
t /run 1048576
t /tmp 1048576
t /var/tmp 1048576
t /work 1064960
t /out 4202496
d /out/r1 
d /out/r2 
d /in/a 
d /in/a/b 
f /in/a/b/1 FILE a/b/1
x /in/a/b/2 FILE a/b/2
f /in/p FILE p
d /work/src 
c /work/src/Makefile FILE src/Makefile
x /work/src/run FILE src/run
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestRootWithoutWritablePlaces(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/usr/x", "")
	list, err := planMounts(root, strictSpec(), false, blobs(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := told(list, root), "r /usr ROOT/usr\nd /sys \nd /in \nd /root \nd /run \nd /tmp \nd /var \nd /var/tmp \nd /work \n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	files := blobs(t.TempDir())
	work := cage.Input{Path: "a", Digest: files.put(t, "x"), Bytes: 1, Place: cage.PlaceWork}
	if _, err := planMounts(root, strictSpec(work), false, files); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a writable input without a writable place: %v", err)
	}
	spec := strictSpec()
	spec.Outs = []string{"result"}
	if _, err := planMounts(root, spec, false, files); err == nil || !strings.Contains(err.Error(), `"result"`) {
		t.Errorf("an output without a writable place: %v", err)
	}
}

// Whatever the root holds under the names of folders, no mount is put below a link or in a folder of the host: the tracer
// makes its places there, and would make them outside.
func TestNothingIsMadeOutsideTheCage(t *testing.T) {
	files := blobs(t.TempDir())
	input := cage.Input{Path: "a/b", Digest: files.put(t, "x"), Bytes: 1}
	work := input
	work.Place = cage.PlaceWork
	spec := strictSpec(input, work)
	spec.Outs = []string{"result"}
	roots := map[string]string{"host": "/"}
	for _, name := range append([]string{"var", "var/tmp", "etc"}, special...) {
		dir := t.TempDir()
		roots["link "+name] = dir
		link(t, "/etc", filepath.Join(dir, name))
		dir = t.TempDir()
		roots["file "+name] = dir
		write(t, filepath.Join(dir, name), "")
	}
	for name, root := range roots {
		list, err := planMounts(root, spec, true, files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kinds := map[string]byte{"/": mountFolder}
		for _, m := range list {
			if k := kinds[path.Dir(m.place)]; k != mountFolder && k != mountTmpfs {
				t.Errorf("%s: %c %s stands in what is %q", name, m.kind, m.place, k)
			}
			if kinds[m.place] != 0 {
				t.Errorf("%s: %s is there twice", name, m.place)
			}
			kinds[m.place] = m.kind
		}
		for _, place := range []string{"/tmp", "/out", "/work", "/root", "/run", "/var/tmp"} {
			if kinds[place] != mountTmpfs {
				t.Errorf("%s: %s is %q", name, place, kinds[place])
			}
		}
	}
}

func TestHostRootShowsProgramsOnly(t *testing.T) {
	list, err := planMounts("/", strictSpec(), true, blobs(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range list {
		found[m.place] = true
		if m.kind != mountTree && m.kind != mountLink {
			continue
		}
		switch name := m.place[1:]; name {
		case "usr", "bin", "sbin", "etc", "opt":
		default:
			if !strings.HasPrefix(name, "lib") {
				t.Errorf("the host's %s is shown", m.place)
			}
		}
	}
	if !found["/usr"] || !found["/var"] || found["/home"] {
		t.Errorf("shown are %v", found)
	}
}

func TestInputMustHaveItsSize(t *testing.T) {
	files := blobs(t.TempDir())
	in := cage.Input{Path: "a", Digest: files.put(t, "text"), Bytes: 5}
	if _, err := planMounts(t.TempDir(), strictSpec(in), true, files); err == nil || !strings.Contains(err.Error(), "fetch the blob again") {
		t.Errorf("an input of another size: %v", err)
	}
}
