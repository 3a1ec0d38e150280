// Package metanode is the root of the module and holds no code: see ARCHITECTURE.md for the rooms of the house, and
// layers_test.go, which keeps their floors apart.
package metanode
