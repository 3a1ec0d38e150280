package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestTheGatewayAnswersForReceipts says which of the API's paths are read at the gateway's address: those that its answers
// point to, and nothing that writes or lists.
func TestTheGatewayAnswersForReceipts(t *testing.T) {
	say := func(who string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, who) })
	}
	h := besideReceipts(say("gateway"), say("api"))
	for request, want := range map[string]string{
		"POST /submit": "gateway", "GET /submit": "gateway", "GET /healthz": "gateway", "GET /": "gateway", "GET /v1/status": "gateway",
		"GET /v1/jobs": "gateway", "POST /v1/commands": "gateway", "POST /v1/admin/drain": "gateway", "GET /metrics": "gateway",
		"PUT /v1/blobs/x": "gateway", "POST /v1/jobs/x": "gateway",
		"GET /v1/jobs/x": "api", "GET /v1/jobs/x/events": "api", "GET /v1/jobs/x/outputs/stdout": "api", "GET /v1/receipts/x": "api", "GET /v1/chain/trust": "api",
	} {
		var method, path string
		for i, c := range request {
			if c == ' ' {
				method, path = request[:i], request[i+1:]
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Body.String() != want {
			t.Errorf("%s is answered by %q, want %q", request, w.Body.String(), want)
		}
	}
}
