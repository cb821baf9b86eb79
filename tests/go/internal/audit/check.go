// Package audit decodes audit events strictly, with the API server's own types.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Decode wants one JSON value without a field that the type does not know.
func Decode(value []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}

// completeness names what an event does not hold because it was not seen.
const completeness = "kubewitness.dev/completeness"

// Check wants what the type documents as always there. The user is not asked for: a request that failed authentication has none. The URI
// is, unless the event itself says that the begin of the request was not seen.
func Check(event *auditv1.Event) error {
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
