package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

// sendCommand hands a message to a service by its name.
func sendCommand() *cli.Command {
	return &cli.Command{
		Name: "send", Usage: "hand a message to whoever provides a service, and write the answer to standard output", ArgsUsage: "SERVICE",
		Description: "SERVICE is a name, or NAME/MAJOR, as bpi network services lists them. The node finds the providers and tries one after\n" +
			"another; the provider sees the node as the sender. A message whose answer got lost may be acted on twice. What the\n" +
			"messages of each service are stands in docs/services.md.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "the message: `TEXT`, @FILE, or @- for standard input"},
			&cli.DurationFlag{Name: "try", Usage: "`TIME` that one provider may take (default: 10s)"},
		},
		Action: action(networkSend),
	}
}

func networkSend(c *cli.Context, e *env) error {
	service, err := argument(c, "service")
	if err != nil {
		return err
	}
	if !c.IsSet("data") {
		return usageError(errors.New("bpi network send: no message; give it with --data TEXT, --data @FILE or --data @-"))
	}
	if t := c.Duration("try"); t < 0 || t > api.MaxTryTime {
		return usageError(fmt.Errorf("--try %s: want more than zero and at most %s", t, api.MaxTryTime))
	}
	body, err := messageBody(c.String("data"), c.App.Reader)
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, max(time.Minute, 2*c.Duration("try")))
		defer cancel()
		r, err := n.SendToService(ctx, api.ServiceMessage{Service: service, Body: body, Try: c.Duration("try")})
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, r)
		}
		for _, t := range r.Tried {
			e.say("%s did not answer: %s", clean(nameOr(t.Name, t.Peer)), clean(t.Error))
		}
		e.say("answered by %s", clean(nameOr(r.Name, r.Peer)))
		_, err = e.out.Write(r.Answer)
		return err
	})
}

// messageBody reads --data.
func messageBody(data string, stdin io.Reader) ([]byte, error) {
	path, file := strings.CutPrefix(data, "@")
	if !file {
		return []byte(data), nil
	}
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--data: %w", err)
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, api.MaxMessageBytes+1))
	if err != nil {
		return nil, fmt.Errorf("--data %s: %w", data, err)
	}
	if len(body) > api.MaxMessageBytes {
		return nil, fmt.Errorf("--data %s: more than %d bytes, which is the most that a message has; put it into the mesh as a blob and send its name", data, api.MaxMessageBytes)
	}
	return body, nil
}
