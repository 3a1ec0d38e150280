// Package enc is the replicated state machine of jobs, placement and agreement.
package enc
