//go:build tools

// Package tools keeps what makes the packages in go.mod and go.sum.
package tools

import (
	_ "github.com/goreleaser/nfpm/v2/cmd/nfpm"
)
