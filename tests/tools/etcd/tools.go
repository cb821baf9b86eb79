//go:build tools

// Package tools keeps the programs of the testbed in go.sum.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)
