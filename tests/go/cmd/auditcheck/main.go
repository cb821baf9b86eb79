// Command auditcheck reads JSON lines on stdin and decodes each one strictly into the API server's own audit Event type.
//
// It prints "N events valid" and exits 0, or prints the first line that the type does not accept, with its number, and exits 1.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"kubewitness.dev/tests/internal/audit"
)

func main() {
	count, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d events valid\n", count)
}

func check(lines io.Reader) (int, error) {
	reader := bufio.NewReader(lines)
	for count := 0; ; count++ {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return count, nil
		}
		if err != nil && err != io.EOF {
			return count, err
		}
		if err == io.EOF {
			return count, fmt.Errorf("line %d: does not end with a newline, it was cut", count+1)
		}
		if err := checkLine(line); err != nil {
			return count, fmt.Errorf("line %d: %w", count+1, err)
		}
	}
}

func checkLine(line []byte) error {
	var event auditv1.Event
	if err := audit.Decode(line, &event); err != nil {
		return err
	}
	return audit.Check(&event)
}
