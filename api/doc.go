// Package api is a node's HTTP API and its Go client. One handler serves TCP, a unix socket and libp2p streams; what it
// needs of the node it declares in Backend, and who is calling it learns from the connection (WithCaller).
//
// Everything under /v1 is described by openapi.yaml, which the handler serves at /v1/openapi.yaml. Bodies are JSON,
// decoded strictly, with three exceptions: commands are canonical CBOR, blobs and messages to services are bytes, and
// streams are one JSON object a line. Errors are {"error": {"code", "message", "next"}}; see Error.
//
// Reading, and handing over what clients signed, is for every caller within limits of its own. Administering is for the
// unix socket and for the peers in Options.Admins.
//
// The API holds no keys and signs nothing: a client signs its own commands. It trusts the peer that it asks as far as
// it does not check: receipts, audit files and blobs can be checked with the receipt package; lists and states are the
// peer's word.
package api
