package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// about is the end of `bpi --help`.
const about = `Standard output carries data only; progress, hints and errors go to standard error. Flags may stand anywhere.
An id may be shortened to an unambiguous prefix.

A command speaks to the node that --api or --peer names, else BPI_API or BPI_PEER, else the devnet of this home,
else the node of this home.

Exit codes: 0 done; 1 error; 2 usage; 3 the program failed; 4 not placed, or the wait timed out; 5 no agreement;
6 a receipt or an audit file is invalid.

Files in the home folder (~/.bpi): keys/ your keys, mode 0600; trust/ the validators of the chains you have met;
receipts/ those of your jobs; config.toml and data/ a node's; devnet/ the devnet, until it is stopped; container/ what
makes the next container run faster, removed by hand at any time when none runs.

Begin with:
   bpi devnet up --nodes 4 --detach
   bpi dataset add examples/data/users.csv --name users
   bpi analytics submit --dataset users --query "SELECT COUNT(*) FROM users"
   bpi doctor                                    when something does not work`

// examples are command lines for people to take over, by command. The tests check that they are well formed.
var examples = map[string][]string{
	"devnet up":   {"bpi devnet up --nodes 4", "bpi devnet up --nodes 4 --gateway-port 0 --detach --keep", "bpi devnet up --config configs/devnet.toml --nodes 3"},
	"devnet down": {"bpi devnet down", "bpi devnet down --keep"},
	"init": {
		"bpi init --new-chain --network mine", "bpi init --card --name berta > berta.json",
		"bpi init --new-chain --network mesh --name anna --founder berta.json --founder carl.json --founder dora.json",
		"bpi init --genesis genesis.cbor --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…",
		"bpi init --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…",
		"bpi init --join bpi1…", "bpi init --join @invitation.txt --swarm-key swarm.key",
	},
	"node start": {"bpi node start", "bpi node start --config configs/devnet.toml"},
	"node drain": {"bpi node drain", "bpi node drain --off", "bpi --peer /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW… node drain --detach"},
	"analytics submit": {
		"bpi analytics submit --dataset users --query \"SELECT COUNT(*) FROM users\"",
		"bpi analytics submit --dataset users --dataset orders@2 --format csv \"SELECT … FROM users JOIN orders USING (id)\"",
		"bpi analytics submit --detach --id-only --replicas 5 --dataset users \"SELECT …\"",
		"bpi --peer /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW… analytics submit --dataset users \"SELECT …\"",
	},
	"analytics explain": {"bpi analytics explain --dataset users \"SELECT country, COUNT(*) FROM users GROUP BY country\""},
	"analytics result":  {"bpi analytics result 3f2a --format csv"},
	"dataset add": {
		"bpi dataset add users.csv --name users", "bpi dataset add sales/ --name sales --format parquet",
		"bpi dataset add old.csv --option delim=; --option header=false",
	},
	"dataset get":    {"bpi dataset get users@2 --to ./users"},
	"dataset remove": {"bpi dataset remove users@2", "bpi dataset remove old"},
	"image add":      {"bpi image add rootfs/ --name base"},
	"image show":     {"bpi image show base@1"},
	"image remove":   {"bpi image remove base@1"},
	"blob add":       {"bpi blob add report.pdf", "bpi blob add --id-only models/"},
	"blob get":       {"bpi blob get bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e -o ./report.pdf"},
	"blob unpin":     {"bpi blob unpin bafkreifzj"},
	"blob export":    {"bpi blob export --car models.car bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
	"blob import":    {"bpi blob import --car models.car"},
	"job run": {
		"bpi job run --image base -- sh -c \"echo hello\"",
		"bpi job run --image base --policy strict-determinism --in data=users --out result -- sh -c \"sort -R /in/data/users.csv | head -3 > /out/result/pick.txt\"",
		"bpi job run --image base@2 --limit cpu=10s,mem=2g --replicas 5 --detach --id-only -- python3 -c \"import random; print(random.random())\"",
	},
	"job list":        {"bpi job list --state failed", "bpi job list --id-only --limit 1"},
	"job plan":        {"bpi job plan --dataset users \"SELECT COUNT(*) FROM users\""},
	"job wait":        {"bpi job wait 3f2a --timeout 1m"},
	"job get":         {"bpi job get 3f2a > rows", "bpi job get 3f2a --output stderr", "bpi job get 3f2a --out result=./result"},
	"job history":     {"bpi job history 3f2a", "bpi job history 3f2a --no-follow --json"},
	"container start": {"bpi container start --name metaanalytics --policy strict-determinism"},
	"container run": {
		"bpi container run -- python3 -c \"import random, time; print(random.random(), time.time())\"",
		"bpi container run --in data=./logs --out result -- sh -c \"sort -R /in/data/a.txt | head -3 | tee /out/result/pick.txt\"",
		"bpi container run --witness w.cbor --work . --out bin --limit cpu=5m,mem=2g -- sh -c \"make -j4 && cp prog /out/bin\"",
	},
	"container verify":      {"bpi container verify w.cbor", "bpi container verify w.cbor --in data=/elsewhere/logs"},
	"container diff":        {"bpi container diff w1.cbor w2.cbor"},
	"container inspect":     {"bpi container inspect w.cbor", "bpi container inspect w.cbor --events"},
	"receipt get":           {"bpi receipt get 3f2a > r.json"},
	"receipt verify":        {"bpi receipt verify r.json --trust trust.json", "bpi receipt verify --job-id 3f2a", "bpi receipt verify r.json --output stdout=rows", "bpi receipt verify r.json --re-execute"},
	"receipt export":        {"bpi receipt export r.json --format sigstore", "bpi receipt export 3f2a --format slsa-vsa --trust trust.json"},
	"security export-audit": {"bpi security export-audit --format json > audit.jsonl", "bpi security export-audit --format csv --from 100 --to 200"},
	"security verify-audit": {"bpi security verify-audit audit.jsonl --trust trust.json"},
	"chain events":          {"bpi chain events --from 100 --to 200 --json", "bpi chain events --follow"},
	"chain trust":           {"bpi chain trust > trust.json", "bpi chain trust --epoch latest > trust.json"},
	"chain status":          {"bpi chain status --watch"},
	"chain block":           {"bpi chain block 100", "bpi chain block --watch"},
	"chain evidence":        {"bpi chain evidence", "bpi chain evidence --watch --json"},
	"chain validators propose": {
		"bpi chain validators propose --add emil.json", "bpi chain validators propose --add emil.json --remove berta --weight anna=2",
		"bpi --home ~/.bpi/devnet/node1 chain validators propose --remove node4",
	},
	"chain validators approve": {"bpi chain validators approve 3f2a"},
	"network services":         {"bpi network services", "bpi network services sql --search", "bpi network services --watch"},
	"network send": {
		"bpi network send dataset --data users", "bpi network send api --data @request.http",
		"bpi network send analytics --try 1m --data @query.json",
	},
	"network create":  {"bpi network create --private acme", "bpi network create --private --sealed acme --listen-port 4100"},
	"network invite":  {"bpi network invite --expires 24h", "bpi network invite --expires 720h --for 12D3KooW…", "bpi network invite --bootstrap /dns4/mesh.example.org/tcp/4001/p2p/12D3KooW…"},
	"network revoke":  {"bpi network revoke 3f2a9c"},
	"network join":    {"bpi network join bpi1…", "bpi network join @invitation.txt"},
	"network members": {"bpi network members"},
	"network ping":    {"bpi network ping", "bpi network ping node3 --count 20"},
	"policy show":     {"bpi policy show strict-determinism", "bpi --json policy show strict-determinism > mine.json"},
	"policy check":    {"bpi policy check mine.json", "bpi policy check sealed"},
	"key new":         {"bpi key new client"},
	"key backup":      {"bpi key backup validator /mnt/safe/validator.key"},
	"status":          {"bpi status", "bpi status 3f2a"},
	"doctor":          {"bpi doctor", "bpi doctor --config /srv/bpi/config.toml"},
	"completion":      {"bpi completion bash > ~/.local/share/bash-completion/completions/bpi"},
}

// withExamples ends the description of every command with its examples.
func withExamples(path string, list []*cli.Command) []*cli.Command {
	for _, c := range list {
		name := strings.TrimSpace(path + " " + c.Name)
		if lines := examples[name]; len(lines) > 0 {
			text := "Examples:\n   " + strings.Join(lines, "\n   ")
			if c.Description != "" {
				text = c.Description + "\n\n" + text
			}
			c.Description = text
		}
		withExamples(name, c.Subcommands)
	}
	return list
}
