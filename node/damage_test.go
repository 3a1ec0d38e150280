package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
)

// contents reads all of a folder.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = raw
	}
	return out
}

// logBlock is how much of the database's log is written at a time. What was synced of the last one cannot be told from
// what never was: the node is behind then, in a state that was final, and fetches the rest again.
const logBlock = 32 << 10

// TestSpoiledDatabaseIsRefused flips bits in every file of a node's database, as it is left by a stop and by a kill. What
// the node then starts from is whole, or it is refused with the next step.
func TestSpoiledDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	const blocks = 60
	l, genesis, closeDB := openTestLedger(t, dir)
	at := genesis
	extend := func() {
		for i := range blocks {
			next := block(t, l, at, 10, registration(t, l, byte(at.Header.Height)+byte(i)))
			if err := l.Commit(next, nil); err != nil {
				t.Fatal(err)
			}
			if err := l.db.Sync(t.Context(), datastore.NewKey("/")); err != nil {
				t.Fatal(err)
			}
			at = next
		}
	}
	extend()
	closeDB()
	l, _, closeDB = openTestLedger(t, dir)
	extend()
	killed := contents(t, dir)
	closeDB()
	for state, left := range map[string]map[string][]byte{"killed": killed, "stopped": contents(t, dir)} {
		refused, behind := 0, 0
		for name, raw := range left {
			for i := 0; i < len(raw); i += 1 + len(raw)/7 {
				to := filepath.Join(t.TempDir(), "chain")
				if err := os.Mkdir(to, 0o700); err != nil {
					t.Fatal(err)
				}
				for other, b := range left {
					if other == name {
						b = append([]byte(nil), b...)
						b[i] ^= 1 << (i % 8)
					}
					if err := os.WriteFile(filepath.Join(to, other), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				height, err := reopen(t, to)
				switch {
				case err != nil && (!strings.Contains(err.Error(), "move "+to+" away") || !strings.Contains(err.Error(), "consensus")):
					t.Fatalf("%s, %s, byte %d: no next step in: %v", state, name, i, err)
				case err != nil:
					refused++
				case height < at.Header.Height && !(strings.HasSuffix(name, ".log") && i/logBlock == (len(raw)-1)/logBlock):
					t.Errorf("%s, %s, byte %d of %d flipped: the state is of block %d, not of %d", state, name, i, len(raw), height, at.Header.Height)
				case height < at.Header.Height:
					behind++
				}
			}
		}
		t.Logf("%s: %d refused, %d behind", state, refused, behind)
		if refused < 10 {
			t.Errorf("%s: only %d were refused", state, refused)
		}
	}
}

// reopen opens a database as a node does, and gives the height of its state.
func reopen(t testing.TB, dir string) (consensus.Height, error) {
	t.Helper()
	db, err := openDatabase(dir)
	if err != nil {
		return 0, err
	}
	l, _, err := openLedger(t.Context(), db, testGenesis(t))
	err = db.explain(err)
	var height consensus.Height
	if err == nil {
		height = l.Height()
	}
	if e := db.Close(); e != nil && err == nil {
		err = db.explain(e)
	}
	select {
	case <-db.spoiled:
		err = errors.Join(err, db.damage)
	default:
	}
	return height, err
}
