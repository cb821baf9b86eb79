// Command auditcheck reads JSON lines on stdin and decodes each one strictly into the API server's own audit Event type.
//
// It prints "N events valid" and exits 0, or prints the first line that the type does not accept, with its number, and exits 1.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
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
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	var event auditv1.Event
	if err := decoder.Decode(&event); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return checkFields(&event)
}

// completeness names what an event does not hold because it was not seen.
const completeness = "kubewitness.dev/completeness"

// checkFields wants what the type documents as always there. The user is not asked for: a request that failed
// authentication has none. The URI is, unless the event itself says that the begin of the request was not seen.
func checkFields(event *auditv1.Event) error {
	if event.Kind != "Event" || event.APIVersion != auditv1.SchemeGroupVersion.String() {
		return fmt.Errorf("kind %q of apiVersion %q is not an Event of %s", event.Kind, event.APIVersion, auditv1.SchemeGroupVersion)
	}
	for _, field := range []struct {
		name   string
		absent bool
	}{
		{"level", event.Level == ""},
		{"auditID", event.AuditID == ""},
		{"stage", event.Stage == ""},
		{"requestURI", event.RequestURI == "" && !strings.Contains(event.Annotations[completeness], "begin-not-seen")},
		{"requestReceivedTimestamp", event.RequestReceivedTimestamp.IsZero()},
		{"stageTimestamp", event.StageTimestamp.IsZero()},
	} {
		if field.absent {
			return fmt.Errorf("the required field %s is absent or empty", field.name)
		}
	}
	switch event.Level {
	case auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse:
	default:
		return fmt.Errorf("level %q is not one that is ever written", event.Level)
	}
	switch event.Stage {
	case auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic:
	default:
		return fmt.Errorf("stage %q does not exist", event.Stage)
	}
	return nil
}
