package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// FuzzServiceMessage gives the services that read messages what a stranger may send to them: an HTTP request to api, and
// JSON to sql.
func FuzzServiceMessage(f *testing.F) {
	f.Add([]byte("GET /v1/status HTTP/1.1\r\nHost: peer\r\n\r\n"))
	f.Add([]byte("POST /v1/commands HTTP/1.1\r\nHost: peer\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("PUT / HTTP/1.1\r\nHost: peer\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte(`{"query":"SELECT 1","datasets":["a"]}`))
	f.Add([]byte(`{"query":"SELECT 1"}{}`))
	from := sign.FromSeed(make([]byte, 32)).Public()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := api.CallerFrom(r.Context()); !ok || c.Kind != api.CallerService {
			panic("the handler does not know that anybody may speak here")
		}
		_, _ = io.Copy(w, io.LimitReader(r.Body, 1<<20))
	})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if raw, err := relayHTTP(t.Context(), echo, from, msg); err == nil {
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
			if err != nil {
				t.Fatalf("the answer is none: %v\n%q", err, raw)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		asked := 0
		raw, err := planFor(t.Context(), msg, func(context.Context, api.PlanRequest) (api.Plan, error) { asked++; return api.Plan{}, nil })
		if (err == nil) != (asked == 1) {
			t.Fatalf("asked %d times: %v", asked, err)
		}
		if err == nil && json.Unmarshal(raw, new(planAnswer)) != nil {
			t.Fatalf("the answer is none: %q", raw)
		}
		if _, err := planFor(t.Context(), msg, func(context.Context, api.NativeRequest) (api.Plan, error) {
			return api.Plan{}, errors.New("trouble")
		}); err != nil {
			var remote *p2p.RemoteError
			if errors.As(err, &remote) && remote.Code == 0 {
				t.Fatal("an error that reads as success")
			}
		}
	})
}
