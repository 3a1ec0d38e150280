package main

import (
	"os"
	"slices"

	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/configs"
)

// checkWalls asks the cage which of its walls this machine gives.
func checkWalls(cfg configs.Config) []finding {
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
	for _, w := range engine.Probe() {
		f := finding{"wall: " + w.Name, "ok", "given", ""}
		if !w.Given {
			f.Status, f.Detail, f.Next = "FAILED", w.Why, w.Remedy
			if slices.Contains(allowed, w.Name) {
				f.Status = "warning"
			} else if w.Strict {
				f.Status, f.Detail = "warning", w.Why+" (jobs in sealed mode run without it, those in strict mode do not)"
			}
		}
		list = append(list, f)
	}
	return list
}
