package enc

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// maxJobManifests bounds the data sets of one job.
const maxJobManifests = 64

// submit orders a job. c is the client's record, which the caller saves.
func (s *State) submit(at BlockContext, who sign.PublicKey, c *clientRecord, p *SubmitJob) error {
	w := &p.Work
	id := JobID(w.Digest(), who, p.Salt)
	if s.has(key(keyJobs, id[:])) {
		return refusal("job " + id.String() + " is submitted already; change the salt to run it again")
	}
	if c.Open >= s.law.genesis.Params.ClientOpenJobs {
		return refusal("quota: this client key has as many unfinished jobs as the network allows; wait for some, or cancel them")
	}
	manifests, err := s.admitEngine(w)
	if err != nil {
		return err
	}
	for i := range w.Inputs {
		in := &w.Inputs[i]
		manifest, bytes, ok := s.BlobManifest(in.Digest)
		if !ok {
			return refusal("input " + in.Path + " (" + in.Digest.String() + ") belongs to no data set of this chain; add it with: bpi dataset add FILE --name NAME")
		}
		if bytes != in.Bytes {
			return refusal(fmt.Sprintf("input %s is said to have %d bytes, and has %d", in.Path, in.Bytes, bytes))
		}
		if at, found := slices.BinarySearchFunc(manifests, manifest, digest.Digest.Compare); !found {
			if len(manifests) == maxJobManifests {
				return refusal(fmt.Sprintf("inputs of more than %d data sets", maxJobManifests))
			}
			manifests = slices.Insert(manifests, at, manifest)
		}
	}
	j := &Job{
		ID: id, Client: who, OnBehalf: p.OnBehalf, Note: p.Note, WorkDigest: w.Digest(),
		Kind: w.Kind, Engine: w.Engine, Policy: w.Policy, CPUClass: w.CPUClass, Memory: w.Limits.MemoryBytes, WallMs: w.Limits.WallMs,
		Manifests: manifests, R: p.R, Q: p.Q, NextR: p.R, Priority: p.Priority,
		Height: at.Height, Index: s.seq, SubmittedMs: at.TimestampMs, Status: StatusPending,
		Waiting:    "ordered; placed as soon as the block after the next one gives the seed",
		QueueEndMs: satAdd(at.TimestampMs, s.law.genesis.Params.QueueMs),
	}
	s.put(key(keyWorks, id[:]), w)
	s.m.Set(listKey(j), slices.Clone(id[:]))
	c.Open++
	s.enqueue(j, at.Height+2)
	s.saveJob(j)
	s.emit(EventJobSubmitted, who, id, "accepted", p.OnBehalf, nil)
	return nil
}

// admitEngine refuses work whose engine this chain does not run, and gives the manifests that the engine comes from.
func (s *State) admitEngine(w *receipt.Work) ([]digest.Digest, error) {
	if w.Kind != KindNative {
		if engine, _, _ := s.Engine(w.Kind); engine != w.Engine {
			return nil, refusal("engine " + w.Engine.String() + " is not in force; for kind " + w.Kind + " it is " + engine.String())
		}
		return nil, nil
	}
	var m Manifest
	switch {
	case !s.get(key(keyManifests, w.Engine[:]), &m) || m.Images == 0:
		return nil, refusal("image " + w.Engine.String() + " is not published on this chain; publish it with: bpi image add ROOTDIR --name NAME")
	case len(m.Held) == 0:
		return nil, refusal("image " + w.Engine.String() + " is held by no peer yet; see: bpi image list")
	case !s.PolicyOffered(w.Policy):
		return nil, refusal("policy " + w.Policy.String() + " is offered by no executor of this chain; see: bpi policy list")
	}
	return []digest.Digest{w.Engine}, nil
}

func (s *State) cancel(at BlockContext, who sign.PublicKey, p *CancelJob) error {
	j, err := s.job(p.Job)
	if err != nil {
		return err
	}
	if j.Client != who {
		return refusal("job " + j.ID.String() + " belongs to client " + j.Client.String() + ", who alone can cancel it")
	}
	if j.Status.Final() {
		return refusal("job " + j.ID.String() + " has ended already: " + string(j.Status))
	}
	s.end(at, j, StatusCancelled)
	s.saveJob(j)
	s.emit(EventJobCancelled, who, j.ID, "cancelled", "", nil)
	return nil
}

// job loads a job that a command names.
func (s *State) job(id digest.Digest) (*Job, error) {
	var j Job
	if !s.get(key(keyJobs, id[:]), &j) {
		return nil, refusal("job " + id.String() + " is not known on this chain, or its result's lifetime is over")
	}
	return &j, nil
}

// end puts the job in a final status: nothing of it waits, runs or counts any more. The caller saves it.
func (s *State) end(at BlockContext, j *Job, status Status) {
	j.Status, j.EndedMs, j.Waiting = status, at.TimestampMs, ""
	s.dequeue(j)
	for i := range j.Executions {
		x := &j.Executions[i]
		s.release(j, x)
		s.del(key(keyAssigned, x.Peer[:], j.ID[:]))
		if x.Observed == ObservedAssigned || x.Observed == ObservedRunning {
			x.Observed = ObservedStopped
		}
	}
	ck := key(keyClients, j.Client[:])
	var c clientRecord
	if s.get(ck, &c) && c.Open > 0 {
		c.Open--
		s.put(ck, &c)
	}
	s.sweepAt(satAdd(at.TimestampMs, s.law.genesis.Params.ResultTTLMs), sweepJob, j.ID[:])
}

// forget removes an ended job whose result nobody needs to keep any more. Its receipt stays valid.
func (s *State) forget(id digest.Digest) {
	j, err := s.job(id)
	if err != nil {
		return
	}
	s.del(listKey(j))
	s.del(key(keyWorks, id[:]))
	s.del(key(keyJobs, id[:]))
	s.emit(EventJobForgotten, sign.PublicKey{}, id, "forgotten", "the lifetime of its result is over", nil)
}

// saveJob writes the job and keeps its one deadline entry in step.
func (s *State) saveJob(j *Job) {
	if wake := j.wake(); wake != j.WakeMs {
		if j.WakeMs != 0 {
			s.del(key(keyDeadlines, be64(j.WakeMs), j.ID[:]))
		}
		if wake != 0 {
			s.mark(key(keyDeadlines, be64(wake), j.ID[:]))
		}
		j.WakeMs = wake
	}
	s.put(key(keyJobs, j.ID[:]), j)
}

// wake is when Begin must look at the job again. Every job that has not ended has such a time, so none hangs.
func (j *Job) wake() uint64 {
	switch j.Status {
	case StatusPending, StatusQueued:
		return j.QueueEndMs
	case StatusRevealing:
		return j.RevealEndMs
	case StatusRunning, StatusCommitting:
		at := j.RoundEndMs
		for i := range j.Executions {
			if x := &j.Executions[i]; x.open(j) {
				at = min(at, x.LeaseMs)
			}
		}
		if t := j.tally(); t.committed >= j.RoundQ && j.CommitEndMs != 0 {
			at = min(at, j.CommitEndMs)
		}
		return at
	}
	return 0
}

func listKey(j *Job) []byte { return key(keyList, be64(^j.Height), be32(^j.Index)) }

// take counts an execution against its node's capacity.
func (s *State) take(j *Job, x *Execution, n *Node) {
	n.UsedSlots++
	n.UsedMemory += j.Memory
	x.HoldsSlot = true
	s.putNode(n)
}

// release gives an execution's capacity back.
func (s *State) release(j *Job, x *Execution) {
	if !x.HoldsSlot {
		return
	}
	x.HoldsSlot = false
	n, ok := s.node(x.Peer)
	if !ok || n.UsedSlots == 0 || n.UsedMemory < j.Memory {
		s.corrupt(key(keyNodes, x.Peer[:]), fmt.Errorf("job %s releases capacity that the node does not count", j.ID))
		return
	}
	n.UsedSlots--
	n.UsedMemory -= j.Memory
	s.putNode(n)
	s.placeable = true
}

// sortedKeys is a sorted copy.
func sortedKeys(l []sign.PublicKey) []sign.PublicKey {
	l = append([]sign.PublicKey{}, l...)
	slices.SortFunc(l, func(a, b sign.PublicKey) int { return cmp.Compare(string(a[:]), string(b[:])) })
	return l
}

// placementBody is Placement as an event's body.
func (j *Job) placementBody() *receipt.Placement {
	p := j.Placement()
	return &p
}
