// Package measure is what measurements share: the programs that are measured, as processes; the machine that they run on;
// and tables of figures with their goals. bench/consensus and bench/p2p are built on it.
package measure
