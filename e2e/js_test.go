package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/metanode/metanode/p2p"
)

// jsDescription is a peer's description as the client prints it: it has checked who signed it.
type jsDescription struct {
	Peer   string `json:"peer"`
	Offers []struct {
		Service string   `json:"service"`
		Labels  []string `json:"labels"`
	} `json:"offers"`
}

func (d jsDescription) has(service, label string) bool {
	for _, o := range d.Offers {
		if o.Service == service && (label == "" || slices.Contains(o.Labels, label)) {
			return true
		}
	}
	return false
}

// TestJavaScriptClientOfAnOpenNetwork has a program of another language and another libp2p do what a stranger may: find
// peers and services, hear of them, ask, have a job done, and take the receipt home.
func TestJavaScriptClientOfAnOpenNetwork(t *testing.T) {
	js := withJavaScript(t)
	n := up(t, 4)
	key, id := js.key()
	query := filepath.Join(t.TempDir(), "query.json")
	if err := os.WriteFile(query, []byte(`{"dataset":"users","query":"SELECT COUNT(*) FROM users"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	job := n.useFromJavaScript(js, n.peers[0], n.peers[0].Address, "--key", key, query)
	trust := n.trust()
	n.holds(js, job, id, trust)

	// It is no peer of another network, and did nothing that is held against it.
	for _, p := range n.peers {
		for _, name := range []string{"bpci_penalties_total", "bpci_strangers_total", "bpci_gossip_rejected_total"} {
			if v := n.metric(p, name); v != 0 {
				t.Errorf("%s: %s is %v after a client's visit", p.Name, name, v)
			}
		}
	}

	// The example of the page.
	list := blocks(t, "../docs/services.md", "```js")
	if len(list) != 1 {
		t.Fatalf("docs/services.md has %d examples in JavaScript", len(list))
	}
	if err := os.WriteFile(filepath.Join(js.dir, "example.mjs"), []byte(list[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := n.client(n.peers[0]).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := js.command(t.Context(), "example.mjs", n.peers[0].Address, s.Chain.Name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "HTTP/1.1 200 OK") || !strings.Contains(string(out), s.Chain.ID.String()) {
		t.Errorf("the example of docs/services.md: %v\n%s", err, out)
	}
	if !slices.ContainsFunc(n.peers, func(p *peer) bool {
		at, id, _ := strings.Cut(p.Address, "/p2p/")
		return strings.Contains(string(out), id) && strings.Contains(string(out), at)
	}) {
		t.Errorf("the example of docs/services.md finds no peer:\n%s", out)
	}

	// The receipt holds with the network gone, too.
	n.must("devnet", "down")
	n.holds(js, job, id, trust)
}

// useFromJavaScript has a client do everything with a network, of which it dials one peer, and looks at what it says. The
// last argument is the file of the query. The network gets the data set users meanwhile. It gives the job of the query.
func (n *testnet) useFromJavaScript(js *javascript, first *peer, address string, args ...string) string {
	t := n.t
	t.Helper()
	status, err := n.client(first).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	flags, query := args[:len(args)-1], args[len(args)-1]
	var added sync.Once
	said, err := js.client(func(s jsStep) {
		if s.Listens != "" {
			added.Do(n.users) // what peers offer changes, and they tell
		}
	}, append(flags, "--network", status.Chain.Name, "--address", address,
		"dial", "identify", "ping", "hear:users@1", "find:analytics", "value", "api:/v1/chain", "message:/v1/chain", "submit:"+query, "receipt:receipt.json")...)
	if err != nil {
		t.Fatal(err)
	}

	var identity struct {
		ProtocolVersion string   `json:"protocolVersion"`
		Protocols       []string `json:"protocols"`
	}
	said["identify"].into(t, &identity)
	if identity.ProtocolVersion != p2p.MemberVersion(status.Chain.Name) || !slices.Contains(identity.Protocols, "/bpci/"+status.Chain.Name+"/stream/api/1") {
		t.Errorf("identify: %s", said["identify"].Raw)
	}
	if s := said["ping"]; !strings.Contains(s.Raw, `"ms":`) {
		t.Errorf("ping: %s", s.Raw)
	}

	ids := map[string]string{} // of the network's peers, with their addresses
	for _, p := range n.peers {
		a := p.Address
		if p == first {
			a = address
		}
		at, id, _ := strings.Cut(a, "/p2p/")
		ids[id] = at
	}
	var heard, value struct {
		Description jsDescription `json:"description"`
	}
	said["hear"].into(t, &heard)
	if d := heard.Description; ids[d.Peer] == "" || !d.has("dataset", "users@1") {
		t.Errorf("heard by gossip: %s", said["hear"].Raw)
	}
	var found struct {
		Peer        string        `json:"peer"`
		Addresses   []string      `json:"addresses"`
		Description jsDescription `json:"description"`
	}
	said["find"].into(t, &found)
	if at := ids[found.Peer]; at == "" || !slices.Contains(found.Addresses, at) || found.Description.Peer != found.Peer || !found.Description.has("analytics", "") {
		t.Errorf("found in the DHT: %s\nthe network: %v", said["find"].Raw, ids)
	}
	said["value"].into(t, &value)
	if d := value.Description; ids[d.Peer] != strings.Split(address, "/p2p/")[0] || !d.has("api", "role=validator") {
		t.Errorf("the peer's description in the DHT: %s", said["value"].Raw)
	}

	var answer struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	}
	said["api"].into(t, &answer)
	if answer.Status != 200 || !strings.Contains(answer.Body, status.Chain.ID.String()) {
		t.Errorf("the API over a stream: %s", said["api"].Raw)
	}
	var message struct {
		Answer string `json:"answer"`
	}
	said["message"].into(t, &message)
	if !strings.HasPrefix(message.Answer, "HTTP/1.1 200 OK\r\n") || !strings.Contains(message.Answer, status.Chain.ID.String()) {
		t.Errorf("the API by a message: %s", said["message"].Raw)
	}

	var job struct {
		Answer struct {
			Job    string `json:"job"`
			State  string `json:"state"`
			Result struct {
				Rows json.RawMessage `json:"rows"`
			} `json:"result"`
		} `json:"answer"`
	}
	said["submit"].into(t, &job)
	if job.Answer.State != "sealed" || string(job.Answer.Result.Rows) != "[[1000]]" {
		t.Errorf("a job by the gateway's service: %s", said["submit"].Raw)
	}
	return job.Answer.Job
}

// trust is a file that names the chain and its validators.
func (n *testnet) trust() string {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "trust.json")
	if err := os.WriteFile(file, []byte(n.must("chain", "trust")), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return file
}

// holds verifies the receipt that the client took, of a job for it, as somebody does who knows the trust file alone.
func (n *testnet) holds(js *javascript, job, client, trust string) {
	n.t.Helper()
	r := n.runWith(home(n.t), "receipt", "verify", filepath.Join(js.dir, "receipt.json"), "--trust", trust)
	if out := r.stdout + r.stderr; r.code != 0 || !strings.Contains(out, "the receipt is valid: job "+job) || !strings.Contains(out, `signed for "http:`+client+`"`) {
		n.t.Errorf("the receipt of job %s that client %s took: exit code %d\n%s", job, client, r.code, out)
	}
}
