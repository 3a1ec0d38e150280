package metanode_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/metanode/metanode"

// A room is a folder of ARCHITECTURE.md with everything below it that is not a room of its own.
type room struct {
	dir   string
	floor int
	// may names the rooms of the same floor, or above floor 0 where the floor alone does not allow it, that this one may
	// import. Floors below are allowed unless only is set.
	may []string
	// only, if not nil, replaces the rule of floors for packages of this module.
	only []string
	pure bool
}

// rooms mirrors the table of floors in ARCHITECTURE.md. A change here changes that table in the same commit.
var rooms = []room{
	{dir: "internal/canon", floor: 0, only: []string{}},
	{dir: "internal/lowhex", floor: 0, only: []string{}},
	{dir: "internal/digest", floor: 0, only: []string{"internal/lowhex"}},
	{dir: "internal/sign", floor: 0, only: []string{"internal/lowhex"}},
	{dir: "internal/bls", floor: 0, only: []string{"internal/lowhex"}},
	{dir: "internal/merkle", floor: 0, only: []string{"internal/canon", "internal/digest"}},
	{dir: "internal/trie", floor: 0, only: []string{"internal/canon", "internal/digest"}},
	{dir: "internal/keyfile", floor: 0, only: []string{"internal/sign"}},
	{dir: "internal", floor: 0, may: []string{"internal"}},

	{dir: "consensus", floor: 1, pure: true},
	{dir: "receipt", floor: 1, may: []string{"consensus"}, pure: true},
	{dir: "enc", floor: 1, may: []string{"consensus", "receipt"}, pure: true},
	{dir: "cage", floor: 1, pure: true},

	{dir: "consensus/driver", floor: 2},
	{dir: "consensus/mempool", floor: 2},
	{dir: "consensus/sim", floor: 2},
	{dir: "enc/runner", floor: 2},
	{dir: "cage/native", floor: 2, may: []string{"cage/cagetest"}},
	{dir: "cage/wasm", floor: 2, may: []string{"cage/cagetest"}},
	{dir: "cage/cagetest", floor: 2},
	{dir: "p2p", floor: 2},
	{dir: "analytics", floor: 2},
	{dir: "api", floor: 2},

	{dir: "configs", floor: 3},
	{dir: "node", floor: 3, may: []string{"configs"}},

	{dir: "cmd/bpi", floor: 4},
	{dir: "e2e", floor: 4},
	{dir: "analytics/bench", floor: 4},
	{dir: "cage/bench", floor: 4},
	{dir: "bench/measure", floor: 4},
	{dir: "bench/consensus", floor: 4, may: []string{"bench/measure"}},
	{dir: "bench/p2p", floor: 4, may: []string{"bench/measure"}},
	{dir: "examples", floor: 4},
	{dir: "scripts", floor: 4},
	{dir: "", floor: 4},
}

// roomOf is the room with the longest folder that holds dir. A folder below a room is part of it.
func roomOf(dir string) (room, bool) {
	best, found := room{}, false
	for _, r := range rooms {
		if r.dir == "" && dir != "" {
			continue
		}
		if dir == r.dir || r.dir == "" || strings.HasPrefix(dir, r.dir+"/") {
			if !found || len(r.dir) > len(best.dir) {
				best, found = r, true
			}
		}
	}
	return best, found
}

// allowed says whether a package of room from may import a package in room to, and if not, why.
func allowed(from, to room) (bool, string) {
	if from.dir == to.dir {
		return true, ""
	}
	for _, d := range append(append([]string{}, from.may...), from.only...) {
		if d == to.dir || to.dir != "" && strings.HasPrefix(to.dir, d+"/") {
			return true, ""
		}
	}
	if from.only != nil {
		return false, fmt.Sprintf("%s may import only %v of this module", from.dir, from.only)
	}
	if to.floor < from.floor && (from.floor != 2 || to.floor < 2) {
		return true, ""
	}
	return false, fmt.Sprintf("%s is on floor %d and %s on floor %d: imports go down only", from.dir, from.floor, to.dir, to.floor)
}

type source struct {
	dir  string // relative to the module's root, with slashes; "" is the root
	path string
	test bool
	file *ast.File
}

func parseModule(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var files []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "build") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		if dir == "." {
			dir = ""
		}
		files = append(files, source{dir: dir, path: p, test: strings.HasSuffix(p, "_test.go"), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: the walk must start at the module's root", len(files))
	}
	return fset, files
}

// folder is the top-level folder of a room.
func folder(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

func imports(f *ast.File) []string {
	var out []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // the parser accepted it, so it is a string
		}
		out = append(out, p)
	}
	return out
}

func TestImportsGoDownOnly(t *testing.T) {
	_, files := parseModule(t)
	for _, s := range files {
		from, ok := roomOf(s.dir)
		if !ok {
			t.Errorf("%s: folder %s is in no room: add it to ARCHITECTURE.md and to the table in layers_test.go", s.path, s.dir)
			continue
		}
		for _, p := range imports(s.file) {
			if p != modulePath && !strings.HasPrefix(p, modulePath+"/") {
				continue
			}
			dir := strings.TrimPrefix(strings.TrimPrefix(p, modulePath), "/")
			to, ok := roomOf(dir)
			if !ok {
				t.Errorf("%s imports %s, which is in no room", s.path, dir)
				continue
			}
			if s.test && from.floor == 2 && to.floor == 2 && folder(from.dir) == folder(to.dir) {
				continue // tests may put the parts of one folder together
			}
			if ok, why := allowed(from, to); !ok {
				t.Errorf("%s imports %s: %s", s.path, dir, why)
			}
		}
	}
}

// Each of these would let something other than its inputs decide what a pure package computes.
var (
	impureImports = []string{"os", "net", "log", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "sync"}
	impureTrees   = []string{"os/", "net/", "log/", "golang.org/x/sys/", "runtime/"}
	impureTime    = map[string]bool{
		"Now": true, "After": true, "AfterFunc": true, "NewTimer": true, "NewTicker": true, "Sleep": true, "Tick": true,
		"Since": true, "Until": true, "Local": true, "LoadLocation": true,
	}
)

// harmless are exceptions that name a package and touch nothing outside of the process.
var harmless = map[string]bool{
	"consensus sync": true, // the memory of valid signatures, which a replica shares with its shell; no verdict hangs on it
}

func TestPurePackagesTouchNothing(t *testing.T) {
	fset, files := parseModule(t)
	for _, s := range files {
		r, ok := roomOf(s.dir)
		if !ok || !r.pure || s.test {
			continue
		}
		for _, p := range imports(s.file) {
			bad := false
			for _, i := range impureImports {
				bad = bad || p == i
			}
			for _, tree := range impureTrees {
				bad = bad || strings.HasPrefix(p, tree)
			}
			if bad && !harmless[s.dir+" "+p] {
				t.Errorf("%s imports %q: a package of floor 1 is pure; do this in the shell above it", s.path, p)
			}
		}
		timeName := importName(s.file, "time")
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a package of floor 1 has no go statements", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && impureTime[n.Sel.Name] {
					t.Errorf("%s: time.%s in a package of floor 1: take the time as an argument", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// importName is the name by which f refers to the package at p, or "" if it does not import it.
func importName(f *ast.File, p string) string {
	for _, i := range f.Imports {
		if v, err := strconv.Unquote(i.Path.Value); err == nil && v == p {
			if i.Name != nil {
				return i.Name.Name
			}
			return path.Base(p)
		}
	}
	return ""
}

func TestEveryPackageHasItsComment(t *testing.T) {
	_, files := parseModule(t)
	type pkg struct{ dir, name string }
	comments := map[pkg][]string{}
	for _, s := range files {
		if s.test {
			continue
		}
		k := pkg{s.dir, s.file.Name.Name}
		comments[k] = append(comments[k], s.file.Doc.Text())
	}
	for k, list := range comments {
		want := "Package " + k.name + " "
		if k.name == "main" {
			want = "Command " + path.Base(k.dir) + " "
		}
		n := 0
		for _, c := range list {
			if strings.HasPrefix(c, want) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("package %s in %q: %d files carry a comment that begins with %q: want one", k.name, k.dir, n, want)
		}
	}
}

func TestRoomsStandInArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, r := range rooms {
		if r.dir != "" && !strings.Contains(string(text), "`"+r.dir+"`") && !strings.Contains(string(text), "`"+r.dir+"/*`") {
			missing = append(missing, r.dir)
		}
	}
	sort.Strings(missing)
	if len(missing) > 0 {
		t.Errorf("ARCHITECTURE.md does not name %v", missing)
	}
}

func TestFloorRules(t *testing.T) {
	tests := []struct {
		from, to string
		want     bool
	}{
		{"enc", "receipt", true},
		{"receipt", "consensus", true},
		{"receipt", "enc", false},
		{"consensus", "enc", false},
		{"consensus", "internal/canon", true},
		{"consensus", "internal/trie", true},
		{"cage", "receipt", false},
		{"internal/merkle", "internal/digest", true},
		{"internal/digest", "internal/canon", false},
		{"internal/canon", "consensus", false},
		{"consensus/driver", "consensus", true},
		{"consensus/driver", "consensus/driver/wal", true},
		{"consensus/driver", "p2p", false},
		{"p2p/blob", "p2p", true},
		{"analytics", "api", false},
		{"enc/runner", "cage/native", false},
		{"cage/native", "cage", true},
		{"api", "configs", false},
		{"configs", "enc", true},
		{"node", "configs", true},
		{"configs", "node", false},
		{"cmd/bpi", "node", true},
		{"node", "cmd/bpi", false},
		{"e2e", "api", true},
		{"e2e", "cmd/bpi", false},
	}
	for _, tt := range tests {
		from, ok := roomOf(tt.from)
		if !ok {
			t.Fatalf("%s is in no room", tt.from)
		}
		to, ok := roomOf(tt.to)
		if !ok {
			t.Fatalf("%s is in no room", tt.to)
		}
		if got, why := allowed(from, to); got != tt.want {
			t.Errorf("%s imports %s: allowed %v, want %v %s", tt.from, tt.to, got, tt.want, why)
		}
	}
}
