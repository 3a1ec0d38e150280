// Command comet-kv is CometBFT's own program with its own kvstore, and one thing more: CheckTx refuses a transaction
// whose Ed25519 signature is not good. It is a module of its own, so that nothing of CometBFT enters the main one.
package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/cmd/cometbft/commands"
	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/cli"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
)

func main() {
	root := commands.RootCmd
	root.AddCommand(commands.NewRunNodeCmd(newNode))
	if err := cli.PrepareBaseCmd(root, "CMT", os.ExpandEnv("$HOME/.cometbft")).Execute(); err != nil {
		os.Exit(1)
	}
}

// newNode makes a node as CometBFT does by default, but for the application.
func newNode(c *config.Config, logger log.Logger, params node.CliParams, generate func() (crypto.PrivKey, error)) (*node.Node, error) {
	nodeKey, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, fmt.Errorf("load node key %s: %w", c.NodeKeyFile(), err)
	}
	validator, err := privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile(), generate)
	if err != nil {
		return nil, fmt.Errorf("load validator key: %w", err)
	}
	return node.NewNodeWithCliParams(context.Background(), c, validator, nodeKey,
		proxy.NewLocalClientCreator(&checking{kvstore.NewInMemoryApplication()}),
		node.DefaultGenesisDocProviderFunc(c), config.DefaultDBProvider, node.DefaultMetricsProvider(c.Instrumentation), logger, params)
}

// checking is the kvstore with a signature check in front.
type checking struct{ *kvstore.Application }

// Where a transaction of the load has its key, as 64 hexadecimal digits, and its signature of all that stands before it,
// as 128; package load of the main module says the same.
const (
	txBytes  = 256
	keyAt    = 64
	signedTo = 128
)

// CheckTx verifies a new transaction. One that is checked again after a block was verified before.
func (c *checking) CheckTx(ctx context.Context, req *abci.CheckTxRequest) (*abci.CheckTxResponse, error) {
	if req.Type == abci.CHECK_TX_TYPE_CHECK && !signed(req.Tx) {
		return &abci.CheckTxResponse{Code: kvstore.CodeTypeUnauthorized, Log: "the signature is not the key's"}, nil
	}
	return c.Application.CheckTx(ctx, req)
}

func signed(tx []byte) bool {
	if len(tx) != txBytes {
		return false
	}
	key := make(ed25519.PubKey, ed25519.PubKeySize)
	sig := make([]byte, ed25519.SignatureSize)
	if _, err := hex.Decode(key, tx[keyAt:signedTo]); err != nil {
		return false
	}
	if _, err := hex.Decode(sig, tx[signedTo:]); err != nil {
		return false
	}
	return key.VerifySignature(tx[:signedTo], sig)
}
