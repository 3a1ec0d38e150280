package analytics

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// worker is the SQL worker, built once for all tests of a run.
var worker struct {
	once   sync.Once
	path   string
	dir    string
	reason string // why there is none
}

func TestMain(m *testing.M) {
	code := m.Run()
	if worker.dir != "" {
		os.RemoveAll(worker.dir)
	}
	os.Exit(code)
}

func workerPath(t testing.TB) string {
	t.Helper()
	worker.once.Do(func() {
		for _, tool := range []string{"gcc", "g++", "go"} {
			if _, err := exec.LookPath(tool); err != nil {
				worker.reason = err.Error()
				return
			}
		}
		dir, err := os.MkdirTemp("", "sql-worker-")
		if err != nil {
			worker.reason = err.Error()
			return
		}
		worker.dir = dir
		worker.path = filepath.Join(dir, "sql-worker")
		if out, err := exec.Command("worker/build.sh", worker.path).CombinedOutput(); err != nil {
			worker.reason = fmt.Sprintf("%v: %s", err, out)
		}
	})
	if worker.reason != "" {
		t.Skipf("no SQL worker: %s", worker.reason)
	}
	return worker.path
}

func buildWorker(t testing.TB, out string) {
	t.Helper()
	if msg, err := exec.Command("worker/build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("build the worker: %v: %s", err, msg)
	}
}

func hashFile(t testing.TB, path string) digest.Digest {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest.Of(b)
}

// answer is what one run of the worker left.
type answer struct {
	stdout []byte
	stderr string
	code   int
}

// ask runs the worker outside any cage, with in as its input folder.
func ask(t testing.TB, in string, r Request) answer {
	t.Helper()
	if r.Version == 0 {
		r.Version = RequestVersion
	}
	if r.Action == "" {
		r.Action = ActionQuery
	}
	if r.TimeZone == "" {
		r.TimeZone = "UTC"
	}
	if r.MemoryBytes == 0 {
		r.MemoryBytes = 128 << 20
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatalf("encode request: %v", err)
	}
	return askBytes(t, in, b)
}

func askBytes(t testing.TB, in string, stdin []byte) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, workerPath(t))
	cmd.Env = []string{"DOCKLOCK_INPUT_DIR=" + in, "DOCKLOCK_SPILL_DIR=" + filepath.Join(t.TempDir(), "spill"), "DOCKLOCK_SEED=" + digest.Of([]byte("test")).String(), "DOCKLOCK_EPOCH_NS=1735689600000000000"}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatalf("run the worker: %v", err)
	}
	return answer{stdout.Bytes(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// usersTable lays out the users data set, two CSV files, and gives its table.
func usersTable(t testing.TB) (dir string, table Table) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, "users", "0.csv"), "id,name,country,score,joined\n1,Ada,GB,1.5,2024-01-02\n2,Bo,SE,2.25,2024-02-03\n3,Cy,GB,,2024-03-04\n")
	write(t, filepath.Join(dir, "users", "1.csv"), "id,name,country,score,joined\n4,\"Di, D\",US,-0.5,2024-04-05\n")
	return dir, Table{
		Name: "users", Format: "csv",
		Columns: []Column{{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "country", Type: "VARCHAR"}, {Name: "score", Type: "DOUBLE"}, {Name: "joined", Type: "DATE"}},
		Dialect: Dialect{Delim: ",", Quote: `"`, Escape: `"`, Header: true},
		Parts:   []Part{{Files: 2}},
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rowsOf(t testing.TB, a answer) *Result {
	t.Helper()
	if a.code != 0 {
		t.Fatalf("exit code %d: %s", a.code, a.stderr)
	}
	r, err := Decode(bytes.NewReader(a.stdout), 0)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return r
}

func TestWorkerAnswersOverCSV(t *testing.T) {
	in, users := usersTable(t)
	r := rowsOf(t, ask(t, in, Request{SQL: "SELECT country, count(*) AS n, sum(score) FROM users GROUP BY ALL ORDER BY 2 DESC, 1", Tables: []Table{users}}))
	if got, want := fmt.Sprint(r.Rows), "[[GB 2 1.5] [SE 1 2.25] [US 1 -0.5]]"; got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	if got, want := r.Columns[1].Name+" "+r.Columns[1].Type.String(), "n BIGINT"; got != want {
		t.Errorf("column %s, want %s", got, want)
	}
}
