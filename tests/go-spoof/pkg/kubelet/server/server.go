// Package server has the functions that the agent looks for in a kubelet, by name.
package server

import (
	"fmt"
	"net/http"
)

// AuthInterface has the kubelet's name and one of its methods.
type AuthInterface interface {
	Authorize(user string) (decision int, reason string, err error)
}

// KubeletAuth lets everybody in.
type KubeletAuth struct{}

// Authorize says what a real one would say to a cluster's administrator.
//
//go:noinline
func (*KubeletAuth) Authorize(user string) (int, string, error) {
	return 1, fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of ClusterRole %q to User %q", "cluster-admin", "cluster-admin", user), nil
}

// Server answers everything.
type Server struct {
	auth   AuthInterface
	filter func(w http.ResponseWriter, req *http.Request)
}

// New makes one.
func New() *Server {
	s := &Server{auth: &KubeletAuth{}}
	s.InstallAuthFilter()
	return s
}

// InstallAuthFilter has a closure of the name that the agent looks for.
//
//go:noinline
func (s *Server) InstallAuthFilter() {
	s.filter = func(w http.ResponseWriter, req *http.Request) {
		decision, reason, err := s.auth.Authorize("admin")
		if err != nil || decision != 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, reason)
	}
}

// ServeHTTP has a deferred call, as the real one.
//
//go:noinline
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer s.done(req.URL.Path)
	s.filter(w, req)
}

//go:noinline
func (s *Server) done(path string) {
	if path == "" {
		fmt.Println("a request without a path")
	}
}
