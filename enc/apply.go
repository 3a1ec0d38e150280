package enc

import (
	"errors"

	"github.com/metanode/metanode/receipt"
)

func (s *State) Begin(at BlockContext) ([]receipt.Event, error) { return nil, errors.New("begin") }

func (s *State) Apply(at BlockContext, cmd *Command) ([]receipt.Event, error) {
	return nil, errors.New("apply")
}

func (s *State) HasWork(height, nowMs uint64) bool { return false }
