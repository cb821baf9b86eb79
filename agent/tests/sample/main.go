// A small program with one of everything that gobin reads; see ../gobin.rs.
package main

import "os"

// Sample has fields of the kinds that a plan reads.
type Sample struct {
	Name    string
	Number  int64
	Labels  map[string][]string
	Speaker Speaker
	Next    *Sample
	flag    bool
}

// Speaker has two methods, whose order in an itab is that of their names.
type Speaker interface {
	Speak() string
	Alpha() int
}

func (s *Sample) Speak() string { return s.Name }

func (s *Sample) Alpha() int { return len(s.Labels) }

// Sink keeps descriptors alive.
var Sink any

//go:noinline
func work(s Speaker) string {
	defer func() { Sink = s.Alpha() }()
	return s.Speak()
}

func main() {
	s := &Sample{Name: os.Args[0], Number: int64(len(os.Args)), Labels: map[string][]string{"a": os.Args}}
	Sink = s
	os.Stdout.WriteString(work(s))
}
