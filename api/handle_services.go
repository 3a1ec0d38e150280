package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Services tells about the services of the mesh, and hands messages to them.
type Services interface {
	// Services lists the offers in force that the chain agrees with, by service and then by peer. Malformed for a name
	// that is none.
	Services(ctx context.Context, q ServiceQuery) ([]Service, error)
	// SendToService hands a message to a provider, and goes on to the next when one does not answer. Errors: NotFound
	// if nobody offers the service, Refused with the provider's words, Unavailable if nobody answered.
	SendToService(ctx context.Context, m ServiceMessage) (ServiceReply, error)
}

func (h *handler) getServices(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "service", "search")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	sq := ServiceQuery{Service: q["service"]}
	if s, ok := q["search"]; ok {
		if sq.Search, err = strconv.ParseBool(s); err != nil || sq.Search && sq.Service == "" {
			h.fail(w, r, Malformed("", "search %.40q: want true or false, and true only with service", s))
			return
		}
	}
	list, err := h.b.Services(r.Context(), sq)
	h.reply(w, r, http.StatusOK, list, err)
}

func (h *handler) postMessage(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "try")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if c := callerOf(r); c.Kind == CallerService {
		h.fail(w, r, Forbidden("ask a peer's API itself", "a message to a service may not send another"))
		return
	}
	m := ServiceMessage{Service: r.PathValue("service") + "/" + r.PathValue("major")}
	if s, ok := q["try"]; ok {
		if m.Try, err = time.ParseDuration(s); err != nil || m.Try <= 0 || m.Try > MaxTryTime {
			h.fail(w, r, Malformed("", "try %.40q: want a time such as 10s, at most %s", s, MaxTryTime))
			return
		}
	}
	if m.Body, err = h.body(w, r, "application/octet-stream", MaxMessageBytes); err != nil {
		h.fail(w, r, err)
		return
	}
	reply, err := h.b.SendToService(r.Context(), m)
	h.reply(w, r, http.StatusOK, reply, err)
}

// Services lists what the peers of the mesh offer.
func (c *Client) Services(ctx context.Context, q ServiceQuery) ([]Service, error) {
	v := url.Values{}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	if q.Search {
		v.Set("search", "true")
	}
	var l []Service
	return l, c.getJSON(ctx, "/v1/services", v, &l)
}

// SendToService hands a message to whoever provides a service, through the node, and gives the answer.
func (c *Client) SendToService(ctx context.Context, m ServiceMessage) (ServiceReply, error) {
	name, major, ok := strings.Cut(m.Service, "/")
	if !ok {
		major = "1"
	}
	v := url.Values{}
	if m.Try > 0 {
		v.Set("try", m.Try.String())
	}
	path := "/v1/services/" + url.PathEscape(name) + "/" + url.PathEscape(major) + "/messages"
	var reply ServiceReply
	body := io.Reader(http.NoBody)
	if len(m.Body) > 0 {
		body = strings.NewReader(string(m.Body))
	}
	resp, err := c.do(ctx, http.MethodPost, path, v, "application/octet-stream", body, int64(len(m.Body)))
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	return reply, readJSON(resp, path, &reply)
}
