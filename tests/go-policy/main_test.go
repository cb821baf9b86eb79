package main

import (
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	const head = `apiVersion: audit.k8s.io/v1\nkind: Policy\n`
	for _, row := range []struct{ name, line, want string }{
		{"a rule", `{"policy": "` + head + `rules:\n- level: Request\n  users: [jane]\n  omitStages: [Panic]", "requests": [{"user": "jane"}, {"user": "joe"}, {}]}`,
			`{"decisions":[{"level":"Request","omitStages":["Panic"]},{"level":"None","omitStages":[]},{"level":"None","omitStages":[]}]}`},
		{"a path", `{"policy": "` + head + `rules:\n- level: Metadata\n  nonResourceURLs: [/a*]", "requests": [{"path": "/ab"}, {"resource": "nodes"}]}`,
			`{"decisions":[{"level":"Metadata","omitStages":[]},{"level":"None","omitStages":[]}]}`},
		{"no policy", `{"policy": "` + head + `rules: []", "requests": []}`, `{"error":"loaded illegal policy with 0 rules"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			if err := answerAll(strings.NewReader(row.line), &out); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(out.String()); got != row.want {
				t.Fatalf("got %s, want %s", got, row.want)
			}
		})
	}
}
