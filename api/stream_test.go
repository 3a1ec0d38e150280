package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

func TestJobStagesStreamAsTheyCome(t *testing.T) {
	f := newFake()
	f.stages = make(chan api.JobEvent)
	c, _ := serve(t, f, api.Options{})
	got, done := make(chan string), make(chan error, 1)
	go func() {
		done <- c.JobEvents(context.Background(), testID.Short(), func(e *api.JobEvent) error { got <- e.Stage; return nil })
	}()
	for _, s := range []string{api.StageOrdered, api.StagePlaced, api.StageSealed} {
		f.stages <- api.JobEvent{Stage: s}
		if g := <-got; g != s {
			t.Errorf("stage %q, want %q", g, s)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSilentStreamSendsHeartbeats(t *testing.T) {
	f := newFake()
	f.stages = make(chan api.JobEvent)
	_, base := serve(t, f, api.Options{Heartbeat: time.Millisecond})
	resp, err := http.Get(base + "/v1/jobs/" + testID.Short() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for range 2 {
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, `"stage":"heartbeat"`) {
			t.Fatalf("%q %v", line, err)
		}
	}
	close(f.stages)
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
}

func TestStreamThatEndsEarlyIsAnError(t *testing.T) {
	f := newFake()
	f.stages = make(chan api.JobEvent, 1)
	f.stages <- api.JobEvent{Stage: api.StageOrdered}
	close(f.stages)
	c, _ := serve(t, f, api.Options{})
	if err := c.JobEvents(context.Background(), testID.Short(), func(*api.JobEvent) error { return nil }); err == nil {
		t.Error("an unfinished job's stream ended without error")
	}
}

func TestErrorInTheMiddleBreaksTheStreamOff(t *testing.T) {
	f := newFake()
	f.audit = func(w io.Writer) error {
		if _, err := w.Write([]byte("part\n")); err != nil {
			return err
		}
		return errors.New("disk on fire")
	}
	c, _ := serve(t, f, api.Options{})
	r, err := c.Audit(context.Background(), api.AuditQuery{})
	if err != nil {
		return // broken off before the header left: as good
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err == nil {
		t.Errorf("read %q as if it were whole", b)
	}
}

func TestErrorBeforeTheStreamIsAnswered(t *testing.T) {
	f := newFake()
	f.eventErr = api.Gone("", "pruned")
	c, _ := serve(t, f, api.Options{})
	err := c.Events(context.Background(), api.EventQuery{}, func(*api.Event) error { return nil })
	if !errors.Is(err, &api.Error{Code: api.CodeGone}) {
		t.Errorf("%v, want gone", err)
	}
}

func TestCallerThatLeavesEndsTheStream(t *testing.T) {
	f := newFake()
	f.stages = make(chan api.JobEvent)
	c, _ := serve(t, f, api.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	err := make(chan error, 1)
	go func() {
		err <- c.JobEvents(ctx, testID.Short(), func(*api.JobEvent) error { cancel(); return nil })
	}()
	f.stages <- api.JobEvent{Stage: api.StageOrdered}
	if e := <-err; !errors.Is(e, context.Canceled) {
		t.Errorf("%v, want canceled", e)
	}
}
