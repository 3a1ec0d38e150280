package main

import (
	"os"
	"strings"
	"testing"
)

func TestSeedComesFromFlagEnvironmentFileAndWorkInThisOrder(t *testing.T) {
	home := t.TempDir()
	e := &env{home: home}
	want := func(seed string) {
		t.Helper()
		if got, err := defaultSeed(e); err != nil || got != seed {
			t.Errorf("seed %q, %v; want %q", got, err, seed)
		}
	}
	want("")
	one, two := strings.Repeat("1a", 32), strings.Repeat("2b", 32)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(configPath(home), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[cage]\nrng_seed = \"" + one + "\"\n")
	want(one)
	t.Setenv("BPI_CAGE_RNG_SEED", two)
	want(two)
	os.Unsetenv("BPI_CAGE_RNG_SEED")
	for text, says := range map[string]string{
		"[cage]\nrngseed = \"x\"\n":       "rng_seed",
		"[cage]\nrng_seed = \"42\"\n":     "cage.rng_seed: \"42\"",
		"[cage\n":                         "line 2",
		"[cage]\nrng_seed = 42\n":         "rng_seed",
		"[p2p]\nlisten_port = \"many\"\n": "listen_port",
	} {
		write(text)
		if code, out, errs := bpi(t, home, "job", "plan", "SELECT 1"); code == 0 || out != "" || !strings.Contains(errs, says) {
			t.Errorf("%q: exit code %d, %q; want %q", text, code, errs, says)
		}
	}
	write("")
	if code, _, errs := bpi(t, home, "job", "plan", "--seed", "42", "SELECT 1"); code != exitUsage || !strings.Contains(errs, "--seed: \"42\"") {
		t.Errorf("--seed 42: exit code %d, %q", code, errs)
	}
}
