// Package cage is DockLock: it says what a caged run is (Spec), under which rules (Policy), and what comes of it
// (Result). The same spec gives the same bytes and the same witness on every machine of the spec's CPU class. Engines,
// which do the running, live below: native runs Linux programs.
//
// A run ends in one of three ways, never confused. A Result holds what any other machine would have found too, a
// program's failure included. ErrNoResult means that a limit was hit that no other machine can attest (wall clock,
// CPU time, the machine's memory). Any other error is trouble with this machine. Only a Result may be put in a
// statement and signed.
//
// In strict mode the witness of a run is a Chain of events with a checkpoint every CheckpointEvery, made by a Recorder
// from what the engine's tracer tells. A Recording keeps them, and Compare finds the first event in which two runs
// differ. Sealed and relaxed runs have a witness of what went in and came out.
//
// The package is pure: no files, no clock, no goroutines. All of its values may be shared once made.
package cage
