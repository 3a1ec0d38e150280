package receipt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/metanode/metanode/internal/digest"
)

// The identifiers that stand in every statement.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://metanode.dev/receipt/v1"
	PayloadType   = "application/vnd.in-toto+json"
)

// MaxStatementBytes bounds a statement's payload.
const MaxStatementBytes = 1 << 20

// ErrStatementForm is returned for a payload that says something in another than the one spelling of Payload.
var ErrStatementForm = errors.New("statement is not in its canonical form")

// Statement is what every honest executor of a round knows when it reveals, and nothing else: agreeing executors sign
// identical bytes. It holds no timings, no addresses, and not who else agreed.
type Statement struct {
	ChainID digest.Digest
	Job     digest.Digest
	Round   uint32
	Work    Work
	Outcome Outcome
	Keyed   digest.Digest // KeyedHasher's sum over the output bytes
}

// NewStatement puts a statement together. It keeps the slices of w and o, which must not change afterwards.
func NewStatement(chainID, job digest.Digest, round uint32, w *Work, o *Outcome, keyed digest.Digest) Statement {
	return Statement{ChainID: chainID, Job: job, Round: round, Work: *w, Outcome: *o, Keyed: keyed}
}

// Payload is the statement as an in-toto Statement v1, in one deterministic form:
//
//   - JSON without any white space, the members in the order written below;
//   - strings in printable ASCII: `"` and `\` after a backslash, every other character outside 0x20..0x7e as \uXXXX in
//     lower-case digits (two of them, a surrogate pair, above U+FFFF), never the short escapes such as \n;
//   - 32-bit integers as JSON numbers in plain decimal, 64-bit ones as decimal strings (the proto3 rule: no reader
//     loses a digit), no fractions and no exponents;
//   - digests as 64 lower-case hexadecimal digits, bytes as padded standard base64.
//
// The members of the predicate follow SLSA provenance where one fits (jobDefinition for buildDefinition), and inputs
// and outputs are in-toto resource descriptors. resolvedDependencies begins with the engine; the inputs follow, in
// the order of Work.Inputs, with "in/" in front of their paths.
func (s Statement) Payload() []byte {
	w, o := &s.Work, &s.Outcome
	j := make(jsonText, 0, 2048+2*len(w.Stdin)+256*(len(w.Inputs)+len(o.Outputs)))
	j.raw(`{"_type":`).str(StatementType).raw(`,"subject":[`)
	for i, out := range o.Outputs {
		j.comma(i).raw(`{"name":`).str(out.Name).raw(`,"digest":`).sha(out.Digest)
		j.raw(`,"annotations":{"bytes":`).u64(out.Bytes).raw(`}}`)
	}
	j.raw(`],"predicateType":`).str(PredicateType)
	j.raw(`,"predicate":{"chain":`).hex(s.ChainID).raw(`,"job":`).hex(s.Job).raw(`,"round":`).u32(s.Round)

	j.raw(`,"jobDefinition":{"jobType":`).str(w.Kind)
	j.raw(`,"externalParameters":{"args":`).strs(w.Args).raw(`,"env":`).strs(w.Env)
	j.raw(`,"stdin":{"digest":`).sha(digest.Of(w.Stdin)).raw(`,"content":"`)
	j = base64.StdEncoding.AppendEncode(j, w.Stdin)
	j.raw(`"},"workdir":`).str(w.Workdir).raw(`,"outs":`).strs(w.Outs)
	j.raw(`},"internalParameters":{"policy":`).sha(w.Policy).raw(`,"cpuClass":`).str(w.CPUClass)
	j.raw(`,"seed":`).hex(w.Seed).raw(`,"epochNs":`).u64(w.EpochNs)
	l := &w.Limits
	j.raw(`,"limits":{"memoryBytes":`).u64(l.MemoryBytes).raw(`,"outputBytes":`).u64(l.OutputBytes)
	j.raw(`,"files":`).u32(l.Files).raw(`,"processes":`).u32(l.Processes)
	j.raw(`,"cpuMs":`).u64(l.CPUMs).raw(`,"wallMs":`).u64(l.WallMs)
	j.raw(`,"calls":`).u64(l.Calls).raw(`,"virtualMs":`).u64(l.VirtualMs).raw(`,"spawned":`).u32(l.Spawned)
	j.raw(`}},"resolvedDependencies":[{"name":"engine","digest":`).sha(w.Engine).raw(`}`)
	for _, in := range w.Inputs {
		j.raw(`,{"name":`).str("in/" + in.Path).raw(`,"digest":`).sha(in.Digest)
		j.raw(`,"annotations":{"bytes":`).u64(in.Bytes).raw(`,"origin":`).str(in.Origin).raw(`}}`)
	}
	j.raw(`]},"runDetails":{"exitCode":`).i32(o.ExitCode).raw(`,"killed":`).str(o.Killed)
	j.raw(`,"witness":`).hex(o.Witness).raw(`,"keyedOutput":`).hex(s.Keyed).raw(`}}}`)
	return j
}

// Digest names the statement: what a commit binds and a seal repeats.
func (s Statement) Digest() digest.Digest { return digest.Sum("bpi/statement/1", s.Payload()) }

// SigningBytes is what an executor signs: the DSSE pre-authentication encoding of the payload.
func (s Statement) SigningBytes() []byte { return PAE(PayloadType, s.Payload()) }

// PAE is DSSE's pre-authentication encoding, version 1 (github.com/secure-systems-lab/dsse, protocol.md).
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+32)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// ParseStatement reads a payload. It accepts exactly what Payload writes (ErrStatementForm otherwise), for outcomes
// that pass Check.
func ParseStatement(payload []byte) (Statement, error) {
	if len(payload) > MaxStatementBytes {
		return Statement{}, fmt.Errorf("statement of %d bytes: over the limit of %d", len(payload), MaxStatementBytes)
	}
	var t statementText
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return Statement{}, fmt.Errorf("read the statement: %w", err)
	}
	s, err := t.statement()
	if err != nil {
		return Statement{}, fmt.Errorf("read the statement: %w", err)
	}
	if !bytes.Equal(s.Payload(), payload) {
		return Statement{}, ErrStatementForm
	}
	if err := s.Outcome.Check(); err != nil {
		return Statement{}, fmt.Errorf("read the statement: %w", err)
	}
	return s, nil
}

// The shapes below serve reading only; ParseStatement's comparison with Payload makes them strict.
type (
	shaText struct {
		SHA256 digest.Digest `json:"sha256"`
	}
	descriptorText struct {
		Name        string  `json:"name"`
		Digest      shaText `json:"digest"`
		Content     []byte  `json:"content"`
		Annotations struct {
			Bytes  uint64 `json:"bytes,string"`
			Origin string `json:"origin"`
		} `json:"annotations"`
	}
	statementText struct {
		Type          string           `json:"_type"`
		Subject       []descriptorText `json:"subject"`
		PredicateType string           `json:"predicateType"`
		Predicate     struct {
			Chain         digest.Digest `json:"chain"`
			Job           digest.Digest `json:"job"`
			Round         uint32        `json:"round"`
			JobDefinition struct {
				JobType  string `json:"jobType"`
				External struct {
					Args    []string       `json:"args"`
					Env     []string       `json:"env"`
					Stdin   descriptorText `json:"stdin"`
					Workdir string         `json:"workdir"`
					Outs    []string       `json:"outs"`
				} `json:"externalParameters"`
				Internal struct {
					Policy   shaText       `json:"policy"`
					CPUClass string        `json:"cpuClass"`
					Seed     digest.Digest `json:"seed"`
					EpochNs  uint64        `json:"epochNs,string"`
					Limits   struct {
						MemoryBytes uint64 `json:"memoryBytes,string"`
						OutputBytes uint64 `json:"outputBytes,string"`
						Files       uint32 `json:"files"`
						Processes   uint32 `json:"processes"`
						CPUMs       uint64 `json:"cpuMs,string"`
						WallMs      uint64 `json:"wallMs,string"`
						Calls       uint64 `json:"calls,string"`
						VirtualMs   uint64 `json:"virtualMs,string"`
						Spawned     uint32 `json:"spawned"`
					} `json:"limits"`
				} `json:"internalParameters"`
				Dependencies []descriptorText `json:"resolvedDependencies"`
			} `json:"jobDefinition"`
			RunDetails struct {
				ExitCode int32         `json:"exitCode"`
				Killed   string        `json:"killed"`
				Witness  digest.Digest `json:"witness"`
				Keyed    digest.Digest `json:"keyedOutput"`
			} `json:"runDetails"`
		} `json:"predicate"`
	}
)

func (t *statementText) statement() (Statement, error) {
	p, d := &t.Predicate, &t.Predicate.JobDefinition
	if t.Type != StatementType || t.PredicateType != PredicateType {
		return Statement{}, fmt.Errorf("type %.80q with predicate %.80q: want %q with %q", t.Type, t.PredicateType, StatementType, PredicateType)
	}
	if len(d.Dependencies) == 0 || len(d.Dependencies) > MaxInputs+1 || len(t.Subject) > MaxOutputs {
		return Statement{}, fmt.Errorf("%d dependencies and %d outputs: want 1 to %d and at most %d", len(d.Dependencies), len(t.Subject), MaxInputs+1, MaxOutputs)
	}
	s := Statement{
		ChainID: p.Chain, Job: p.Job, Round: p.Round, Keyed: p.RunDetails.Keyed,
		Work: Work{
			Kind: d.JobType, Engine: d.Dependencies[0].Digest.SHA256, Policy: d.Internal.Policy.SHA256,
			CPUClass: d.Internal.CPUClass, Args: d.External.Args, Env: d.External.Env, Stdin: d.External.Stdin.Content,
			Inputs: []Input{}, Seed: d.Internal.Seed, EpochNs: d.Internal.EpochNs,
			Limits: Limits{
				MemoryBytes: d.Internal.Limits.MemoryBytes, OutputBytes: d.Internal.Limits.OutputBytes,
				Files: d.Internal.Limits.Files, Processes: d.Internal.Limits.Processes,
				CPUMs: d.Internal.Limits.CPUMs, WallMs: d.Internal.Limits.WallMs, Calls: d.Internal.Limits.Calls,
				VirtualMs: d.Internal.Limits.VirtualMs, Spawned: d.Internal.Limits.Spawned,
			},
			Workdir: d.External.Workdir, Outs: d.External.Outs,
		},
		Outcome: Outcome{
			ExitCode: p.RunDetails.ExitCode, Killed: p.RunDetails.Killed, Outputs: []Output{}, Witness: p.RunDetails.Witness,
		},
	}
	for _, in := range d.Dependencies[1:] {
		if len(in.Name) < 3 {
			return Statement{}, ErrStatementForm
		}
		s.Work.Inputs = append(s.Work.Inputs, Input{
			Path: in.Name[3:], Digest: in.Digest.SHA256, Bytes: in.Annotations.Bytes, Origin: in.Annotations.Origin,
		})
	}
	for _, out := range t.Subject {
		s.Outcome.Outputs = append(s.Outcome.Outputs, Output{Name: out.Name, Digest: out.Digest.SHA256, Bytes: out.Annotations.Bytes})
	}
	return s, nil
}
