package api

import (
	"context"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

var update = flag.Bool("update", false, "rewrite the schemas in openapi.yaml")

func TestEveryRouteIsDescribedAndTheOtherWayRound(t *testing.T) {
	described := map[string]bool{}
	path := ""
	pathLine, methodLine := regexp.MustCompile(`^  (/\S*):$`), regexp.MustCompile(`^    (get|put|post|delete|patch):$`)
	for _, line := range strings.Split(string(openAPI), "\n") {
		if line == "components:" {
			break
		}
		if m := pathLine.FindStringSubmatch(line); m != nil {
			path = m[1]
		} else if m := methodLine.FindStringSubmatch(line); m != nil {
			described[strings.ToUpper(m[1])+" "+path] = true
		}
	}
	h := &handler{b: struct{ Backend }{stub{}}}
	for _, r := range h.routes() {
		p := strings.ReplaceAll(r.pattern, "...}", "}")
		if !described[p] {
			t.Errorf("openapi.yaml does not describe %s", p)
		}
		delete(described, p)
	}
	for p := range described {
		t.Errorf("openapi.yaml describes %s, which is no route", p)
	}
}

// stub lets routes take its methods' values; none is called.
type stub struct{ Backend }

func (stub) Status(context.Context) (s Status, err error)                            { return }
func (stub) Peers(context.Context) (s []Peer, err error)                             { return }
func (stub) ChainStatus(context.Context) (s ChainStatus, err error)                  { return }
func (stub) Validators(context.Context) (s Validators, err error)                    { return }
func (stub) Evidence(context.Context) (s []Evidence, err error)                      { return }
func (stub) Executors(context.Context) (s []Executor, err error)                     { return }
func (stub) Datasets(context.Context) (s []Dataset, err error)                       { return }
func (stub) Images(context.Context) (s []Image, err error)                           { return }
func (stub) DAGs(context.Context) (s DAGList, err error)                             { return }
func (stub) Collect(context.Context) (s Collected, err error)                        { return }
func (stub) DAG(context.Context, string) (s DAG, err error)                          { return }
func (stub) MissingBlocks(context.Context, BlocksAsked) (s BlocksMissing, err error) { return }
func (stub) FetchDAG(context.Context, string) (s DAG, err error)                     { return }
func (stub) PinDAG(context.Context, string) (s DAG, err error)                       { return }
func (stub) UnpinDAG(context.Context, string) (s DAG, err error)                     { return }
func (stub) PlanNative(context.Context, NativeRequest) (s Plan, err error)           { return }
func (stub) PlanSQL(context.Context, PlanRequest) (s Plan, err error)                { return }
func (stub) SniffDataset(context.Context, SniffRequest) (s SniffResult, err error)   { return }

func TestSchemasFollowTheTypes(t *testing.T) {
	const marker = "\n  schemas:\n"
	i := strings.Index(string(openAPI), marker)
	if i < 0 {
		t.Fatal("openapi.yaml has no schemas")
	}
	want := string(openAPI[:i]) + marker + schemas(
		CommandAccepted{}, CommandStatus{}, Status{}, Peer{}, ChainStatus{}, Block{}, Validators{}, Evidence{}, Executor{}, Event{}, Problem{},
		JobList{}, Job{}, JobEvent{}, PlanRequest{}, Plan{}, Dataset{}, DatasetDetail{}, SniffRequest{}, SniffResult{},
		NativeRequest{}, Image{}, ImageDetail{},
		Service{}, ServiceReply{},
		BlobStored{}, DAG{}, DAGList{}, BlocksAsked{}, BlocksMissing{}, Collected{}, Drain{}, DrainStatus{}, Network{}, Revocation{}, RevocationTaken{},
	)
	if *update {
		if err := os.WriteFile("openapi.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(openAPI) != want {
		t.Error("the schemas of openapi.yaml are not those of the types; run: go test ./api -run TestSchemasFollowTheTypes -update")
	}
	named := regexp.MustCompile(`"#/components/schemas/(\w+)"`)
	for _, m := range named.FindAllStringSubmatch(want, -1) {
		if !strings.Contains(want, "\n    "+m[1]+":\n") {
			t.Errorf("openapi.yaml names schema %s and does not define it", m[1])
		}
	}
}

// schemas writes the JSON schemas of the types and of those that they hold.
func schemas(roots ...any) string {
	seen := map[string]string{}
	for _, v := range roots {
		define(reflect.TypeOf(v), seen)
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "    %s:\n      type: object\n%s", n, seen[n])
	}
	return b.String()
}

func define(t reflect.Type, seen map[string]string) {
	if _, ok := seen[t.Name()]; ok {
		return
	}
	seen[t.Name()] = ""
	var required, props strings.Builder
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
		if opt != "omitempty" && opt != "omitzero" {
			fmt.Fprintf(&required, "        - %s\n", name)
		}
		fmt.Fprintf(&props, "        %s:\n%s", name, describe(f.Type, "          ", seen))
	}
	s := ""
	if required.Len() > 0 {
		s = "      required:\n" + required.String()
	}
	seen[t.Name()] = s + "      properties:\n" + props.String()
}

func describe(t reflect.Type, ind string, seen map[string]string) string {
	switch {
	case t == reflect.TypeFor[digest.Digest](), t == reflect.TypeFor[sign.PublicKey]():
		return ind + "type: string\n" + ind + "pattern: '^[0-9a-f]{64}$'\n"
	case t == reflect.TypeFor[sign.Signature](), t == reflect.TypeFor[bls.PublicKey](), t == reflect.TypeFor[bls.Signature]():
		return ind + "type: string\n" + ind + fmt.Sprintf("pattern: '^[0-9a-f]{%d}$'\n", 2*t.Len())
	case t == reflect.TypeFor[[]byte]():
		return ind + "type: string\n" + ind + "contentEncoding: base64\n"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem(), ind, seen)
	case reflect.Slice:
		return ind + "type: array\n" + ind + "items:\n" + describe(t.Elem(), ind+"  ", seen)
	case reflect.Map:
		return ind + "type: object\n" + ind + "additionalProperties:\n" + describe(t.Elem(), ind+"  ", seen)
	case reflect.Struct:
		define(t, seen)
		return ind + `$ref: "#/components/schemas/` + t.Name() + "\"\n"
	case reflect.String:
		return ind + "type: string\n"
	case reflect.Bool:
		return ind + "type: boolean\n"
	case reflect.Float64:
		return ind + "type: number\n"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return ind + "type: integer\n"
	}
	panic("no schema for " + t.String())
}
