//go:build tools

// Package tools keeps what the testbed builds in go.mod and go.sum. It is a module of its own, because what kube-proxy needs
// besides would change the sums that the other programs of Kubernetes are built from.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
)
