// Package bench measures what the cage costs: the same SQL worker answers the same requests inside and outside of it,
// over tables as in TPC-H that tpch/ generates. TestBenchCage is run by `make bench`; nothing in the tests depends on
// its figures.
package bench
