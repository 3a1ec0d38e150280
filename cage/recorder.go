package cage

// Recorder makes the witness of a run, and the recording if one is wanted. An engine makes one a run, gives it each
// event in its order, and finishes it. Not for concurrent use.
type Recorder struct {
	spec  *Spec
	chain *Chain
	into  *Recording // nil: only the witness is wanted
	bytes int        // of payloads kept
	full  bool       // no more events are kept
}

// NewRecorder begins the witness of a run of spec under policy, which spec names. Finish fills into; nil keeps nothing.
func NewRecorder(spec *Spec, policy *Policy, into *Recording) *Recorder {
	if into != nil {
		*into = Recording{Version: RecordingVersion, Spec: *spec, Policy: policy.Marshal()}
	}
	return &Recorder{spec: spec, chain: NewChain(spec.Genesis()), into: into}
}

// Record takes what the tracer sent: see NewEvent.
func (r *Recorder) Record(kind EventKind, tid uint32, payload []byte) error {
	e, err := NewEvent(kind, tid, payload)
	if err != nil {
		return err
	}
	checkpoint := r.chain.Add(e)
	if r.into == nil {
		return nil
	}
	if checkpoint {
		end := r.chain.End()
		r.into.Checkpoints = append(r.into.Checkpoints, end[:]...)
	}
	r.keep(e)
	return nil
}

// keep holds on to the first events and, so that the same are kept everywhere, to none after one that has no room.
func (r *Recorder) keep(e Event) {
	r.bytes += len(e.Payload)
	r.full = r.full || r.chain.Count() > MaxRecorded || r.bytes > MaxRecordedBytes
	if r.full {
		return
	}
	s := r.into.Stretches
	if n := len(s); n == 0 || len(s[n-1]) == CheckpointEvery {
		s = append(s, nil)
	}
	s[len(s)-1] = append(s[len(s)-1], e)
	r.into.Stretches = s
}

// Finish sorts the result's outputs, sets its witness and completes the recording.
func (r *Recorder) Finish(res *Result, totals Totals) {
	if r.spec.Mode == ModeStrict {
		r.chain.Finish(res)
	} else {
		res.Finish(r.spec)
	}
	if r.into != nil {
		r.into.Result, r.into.Totals = *res, totals
		r.into.Count, r.into.End = r.chain.Count(), r.chain.End()
	}
}
