package main

import (
	"strings"
	"testing"
)

const valid = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete",` +
	`"requestURI":"/pods","verb":"get","user":{},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.000001Z"}`

func TestCheck(t *testing.T) {
	for _, row := range []struct{ name, input, err string }{
		{"nothing", "", ""},
		{"two events", valid + "\n" + valid + "\n", ""},
		{"cut", valid + "\n" + valid[:50], "line 2: does not end with a newline"},
		{"not JSON", valid + "\n{]\n", "line 2: invalid character"},
		{"unknown field", strings.Replace(valid, `"verb"`, `"verbs"`, 1) + "\n", `unknown field "verbs"`},
		{"wrong type", strings.Replace(valid, `"/pods"`, `7`, 1) + "\n", "cannot unmarshal number"},
		{"other kind", strings.Replace(valid, `"Event"`, `"EventList"`, 1) + "\n", "is not an Event"},
		{"other version", strings.Replace(valid, "audit.k8s.io/v1", "audit.k8s.io/v1beta1", 1) + "\n", "is not an Event"},
		{"no auditID", strings.Replace(valid, `"auditID":"a",`, "", 1) + "\n", "required field auditID"},
		{"no URI", strings.Replace(valid, `"/pods"`, `""`, 1) + "\n", "required field requestURI"},
		{"no URI, and why", strings.NewReplacer(`"/pods"`, `""`, `"user":{}`, `"annotations":{"kubewitness.dev/completeness":"partial: begin-not-seen"}`).Replace(valid) + "\n", ""},
		{"no timestamp", strings.Replace(valid, `,"stageTimestamp":"2026-01-01T00:00:00.000001Z"`, "", 1) + "\n", "required field stageTimestamp"},
		{"bad timestamp", strings.Replace(valid, "2026-01-01T00:00:00.000001Z", "now", 1) + "\n", "parsing time"},
		{"bad stage", strings.Replace(valid, "ResponseComplete", "Done", 1) + "\n", `stage "Done" does not exist`},
		{"bad level", strings.Replace(valid, `"Metadata"`, `"None"`, 1) + "\n", `level "None"`},
		{"two values", valid + " {}\n", "more than one JSON value"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := check(strings.NewReader(row.input))
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Fatalf("error %v, want one with %q", err, row.err)
			}
		})
	}
	if count, _ := check(strings.NewReader(valid + "\n" + valid + "\n")); count != 2 {
		t.Fatalf("%d events, want 2", count)
	}
}
