// Command auditpolicy asks the API server's own code what an audit policy makes of requests.
//
// It reads JSON lines on stdin: {"policy": "text of a policy", "requests": [{"user": …, "groups": …, "verb": …, …}]}. For each line it prints
// one: {"error": "why the text is no policy"} or {"decisions": [{"level": …, "omitStages": […]}]}, the stages sorted, each once, one decision for each request.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"
)

type question struct {
	Policy   string    `json:"policy"`
	Requests []request `json:"requests"`
}

type request struct {
	// User is nil where nobody was authenticated.
	User        *string  `json:"user"`
	Groups      []string `json:"groups"`
	Verb        string   `json:"verb"`
	Group       string   `json:"group"`
	Resource    string   `json:"resource"`
	Subresource string   `json:"subresource"`
	Namespace   string   `json:"namespace"`
	Name        string   `json:"name"`
	// Path is set for what is no resource.
	Path *string `json:"path"`
}

type answer struct {
	Error     string     `json:"error,omitempty"`
	Decisions []decision `json:"decisions,omitempty"`
}

type decision struct {
	Level      string   `json:"level"`
	OmitStages []string `json:"omitStages"`
}

func main() {
	// The reader warns of what it reads leniently; the answer is what counts.
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false")
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
	if err := answerAll(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answerAll(in io.Reader, out io.Writer) error {
	questions := json.NewDecoder(bufio.NewReader(in))
	answers := bufio.NewWriter(out)
	for {
		var asked question
		if err := questions.Decode(&asked); err == io.EOF {
			return answers.Flush()
		} else if err != nil {
			return err
		}
		if err := json.NewEncoder(answers).Encode(answerTo(asked)); err != nil {
			return err
		}
	}
}

func answerTo(asked question) answer {
	read, err := policy.LoadPolicyFromBytes([]byte(asked.Policy))
	if err != nil {
		return answer{Error: err.Error()}
	}
	evaluator := policy.NewPolicyRuleEvaluator(read)
	var decisions []decision
	for _, request := range asked.Requests {
		config := evaluator.EvaluatePolicyRule(request.attributes())
		stages := []string{}
		for _, stage := range config.OmitStages {
			stages = append(stages, string(stage))
		}
		slices.Sort(stages)
		decisions = append(decisions, decision{Level: string(config.Level), OmitStages: slices.Compact(stages)})
	}
	return answer{Decisions: decisions}
}

func (r request) attributes() authorizer.Attributes {
	record := authorizer.AttributesRecord{
		Verb:            r.Verb,
		APIGroup:        r.Group,
		Resource:        r.Resource,
		Subresource:     r.Subresource,
		Namespace:       r.Namespace,
		Name:            r.Name,
		ResourceRequest: r.Path == nil,
	}
	// A nil pointer in the interface would be no nil user.
	if r.User != nil {
		record.User = &user.DefaultInfo{Name: *r.User, Groups: r.Groups}
	}
	if r.Path != nil {
		record.Path = *r.Path
	}
	return record
}
