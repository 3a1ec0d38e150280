package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/sign"
)

func offeredService(service, name string, labels ...string) api.Service {
	return api.Service{
		Service: service + "/1", Version: "1.0", Peer: "12D3KooW" + name, Key: sign.PublicKey{1}, Name: name, Capacity: 4, Labels: labels,
		Addresses: []string{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooW" + name, "/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooW" + name, "/ip4/192.0.2.7/tcp/1/p2p/12D3KooW" + name},
	}
}

func TestNetworkServicesAreListed(t *testing.T) {
	list := []api.Service{offeredService("api", "anna", "role=validator"), offeredService("dataset", "", "bad\x1b[31m"), offeredService("sql", "berta")}
	url := fakeNode(t, map[string]any{"GET /v1/services": list})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "network", "services")
	if code != 0 || !strings.Contains(out, "SERVICE") || strings.Count(out, "\n") != 4 || !strings.Contains(out, "role=validator") ||
		!strings.Contains(out, "/ip4/192.0.2.7/tcp/1/p2p/12D3KooWanna") || strings.Contains(out, "127.0.0.1") || strings.Contains(out, "\x1b") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	var got []api.Service
	if code, out, _ := bpi(t, t.TempDir(), "--api", url, "--json", "network", "services", "sql", "--search"); code != 0 || json.Unmarshal([]byte(out), &got) != nil || len(got) != 3 || got[2].Name != "berta" {
		t.Errorf("--json: exit code %d, %s", code, out)
	}
}

func TestServiceChangesAreWhatPeopleWouldCallSo(t *testing.T) {
	a, b, c := offeredService("api", "anna"), offeredService("sql", "anna"), offeredService("sql", "berta")
	longer := a
	longer.Seq, longer.ExpiresMs = a.Seq+1, a.ExpiresMs+1
	busy := b
	busy.Capacity = 0
	var words []string
	for _, change := range serviceChanges([]api.Service{a, b, c}, []api.Service{longer, busy, offeredService("native", "carl")}) {
		words = append(words, change.Change+" "+change.Service.Service+" "+change.Name)
	}
	if got := strings.Join(words, ", "); got != "changed sql/1 anna, offered native/1 carl, gone sql/1 berta" {
		t.Errorf("changes: %s", got)
	}
}

func TestNetworkSendWritesTheAnswerAndSaysWhoGaveIt(t *testing.T) {
	url := fakeNode(t, map[string]any{"POST /v1/services/echo/1/messages": api.ServiceReply{
		Service: "echo/1", Peer: "12D3KooWberta", Name: "berta", Tried: []api.ServiceTry{{Peer: "12D3KooWanna", Error: "is gone"}}, Answer: []byte("an answer\x00"),
	}})
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"hello", "@" + file, ""} {
		code, out, errs := bpi(t, t.TempDir(), "--api", url, "network", "send", "echo", "--data", data)
		if code != 0 || out != "an answer\x00" || !strings.Contains(errs, "answered by berta") || !strings.Contains(errs, "12D3KooWanna did not answer: is gone") {
			t.Errorf("--data %s: exit code %d, %q, %q", data, code, out, errs)
		}
	}
	var r api.ServiceReply
	if code, out, _ := bpi(t, t.TempDir(), "--api", url, "--json", "network", "send", "echo/1", "--data", "x"); code != 0 || json.Unmarshal([]byte(out), &r) != nil || string(r.Answer) != "an answer\x00" {
		t.Errorf("--json: exit code %d, %s", code, out)
	}
	if code, out, errs := bpi(t, t.TempDir(), "--api", url, "network", "send", "echo", "--data", "@"+file+"x"); code != exitFailure || out != "" || !strings.Contains(errs, file+"x") {
		t.Errorf("no file: exit code %d, %q, %q", code, out, errs)
	}
	if err := os.Truncate(file, api.MaxMessageBytes+1); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := bpi(t, t.TempDir(), "--api", url, "network", "send", "echo", "--data", "@"+file); code != exitFailure || !strings.Contains(errs, "more than 1048576 bytes") {
		t.Errorf("too large: exit code %d, %q", code, errs)
	}
}
