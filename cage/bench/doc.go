// Package bench measures what strict determinism costs: the same programs natively and in the cage, in turn, in one run;
// and a launch beside those of bubblewrap and runc. TestBenchStrict is run by `make bench`; nothing in the tests depends
// on its figures.
package bench
