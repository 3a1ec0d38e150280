package main

import (
	"os"
	"slices"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/configs"
)

// checkWalls asks the cage which of its walls this machine gives: those that a mode needs, or with "" all, where those
// that only some modes need are no more than a warning.
func checkWalls(cfg configs.Config, mode string) []finding {
	dir, err := os.MkdirTemp("", "bpi-doctor-*")
	if err != nil {
		return []finding{{"walls", "FAILED", err.Error(), ""}}
	}
	defer os.RemoveAll(dir)
	allowed := slices.Clone(cfg.Cage.AllowMissingWalls)
	engine, err := native.New(native.Config{Dir: dir, AllowMissing: allowed})
	if err != nil {
		return []finding{{"walls", "FAILED", err.Error(), "correct cage.allow_missing_walls"}}
	}
	defer engine.Close()
	var list []finding
	failed := false
	for _, w := range engine.Probe() {
		if w.Strict && mode == cage.ModeSealed {
			continue
		}
		f := finding{"wall: " + w.Name, "ok", "given", ""}
		if !w.Given {
			f.Status, f.Detail, f.Next = "FAILED", w.Why, w.Remedy
			if slices.Contains(allowed, w.Name) {
				f.Status = "warning"
			} else if w.Strict && mode == "" {
				f.Status, f.Detail = "warning", w.Why+" (jobs in sealed mode run without it, those in strict mode do not)"
			}
		}
		failed = failed || f.Status == "FAILED"
		list = append(list, f)
	}
	if mode != "" && !failed { // a wall may be allowed to be missing, and this mode not run without it
		if err := engine.ReadyFor(mode); err != nil {
			list = append(list, finding{"walls", "FAILED", err.Error(), ""})
		}
	}
	return list
}
