package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// setting is a line of CometBFT's config.toml.
type setting struct{ key, value string }

// loopback lets validators live side by side on one machine, says nothing while all is well, and runs the kvstore
// inside of the node, which is faster than over a socket.
func loopback(p place, i int) []setting {
	return []setting{
		{"proxy_app", `"kvstore"`},
		{"log_level", `"error"`},
		{"addr_book_strict", "false"},
		{"allow_duplicate_ip", "true"},
		{"pex", "false"},
	}
}

// tuned are the settings that let CometBFT commit as fast as it can: no pause after a commit, votes and parts gossiped
// every 5 ms and not every 100, no bound on what a connection carries.
var tuned = []setting{
	{"timeout_commit", `"0s"`},
	{"skip_timeout_commit", "true"},
	{"peer_gossip_sleep_duration", `"5ms"`},
	{"flush_throttle_timeout", `"10ms"`},
	{"send_rate", "200000000"},
	{"recv_rate", "200000000"},
}

// cometSystems are CometBFT as it comes, tuned, and tuned with signatures checked.
func cometSystems(n int) []system {
	one := func(name, program string, extra []setting) system {
		return system{
			name: name, size: n,
			make: func(ctx context.Context, p place, n int) error { return makeComet(ctx, p, n, extra) },
			argv: func(p place, _, i int) []string {
				return []string{filepath.Join(p.bin, program), "start", "--home", home(p, i)}
			},
			ready: func(s rpc.Status, _ int) bool { return s.Height >= 2 },
		}
	}
	return []system{
		one("CometBFT, default", "cometbft", nil),
		one("CometBFT, tuned", "cometbft", tuned),
		one("CometBFT, tuned, checking signatures", "comet-kv", tuned),
	}
}

func home(p place, i int) string { return filepath.Join(p.dir, fmt.Sprintf("node%d", i)) }

// makeComet writes keys, genesis and configuration by CometBFT's own tool, and changes the settings.
func makeComet(ctx context.Context, p place, n int, extra []setting) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "cometbft"), "testnet", "--v", fmt.Sprint(n), "--o", p.dir, "--starting-ip-address", p.net+".2")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cometbft testnet: %w: %.300s", err, out)
	}
	for i := range n {
		path := filepath.Join(home(p, i), "config", "config.toml")
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := set(string(raw), append(loopback(p, i), extra...))
		if err == nil {
			text, err = listen(text, fmt.Sprintf("%s.%d", p.net, i+2))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// set changes settings, each of which must stand exactly once in the text: a renamed one would go unnoticed otherwise,
// and the comparison be with something else than it says.
func set(text string, list []setting) (string, error) {
	for _, s := range list {
		line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(s.key) + ` = .*$`)
		if n := len(line.FindAllStringIndex(text, -1)); n != 1 {
			return "", fmt.Errorf("setting %s stands there %d times: want once; is this CometBFT v1.0.1?", s.key, n)
		}
		text = line.ReplaceAllLiteralString(text, s.key+" = "+s.value)
	}
	return text, nil
}

// listen gives the RPC and the peers' port an address of their own. Both settings are called laddr.
func listen(text, ip string) (string, error) {
	for _, port := range []string{"26656", "26657"} {
		line := regexp.MustCompile(`(?m)^laddr = "tcp://[0-9.]+:` + port + `"$`)
		if n := len(line.FindAllStringIndex(text, -1)); n != 1 {
			return "", fmt.Errorf("laddr with port %s stands there %d times: want once; is this CometBFT v1.0.1?", port, n)
		}
		text = line.ReplaceAllLiteralString(text, `laddr = "tcp://`+ip+`:`+port+`"`)
	}
	return text, nil
}
