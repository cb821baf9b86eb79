// Command spdyexec calls a kubelet directly over SPDY with client-go's own executor, as an agent that holds a token would.
//
// It prints what the command wrote. The exit status is 0 when the stream ended well, 1 when the kubelet refused or the
// stream failed (the reason is on stderr), 2 on wrong usage, and otherwise that of the command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// call is what was typed.
type call struct {
	mode, method, server             string
	namespace, pod, container, uid   string
	port                             int
	timeout                          time.Duration
	command                          []string
	tokenFile, certFile, keyFile, ca string
	insecure, stdin                  bool
}

func main() {
	c := parse()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	run := c.stream
	if c.mode == "portforward" {
		run = c.forward
	}
	err := run(ctx)
	var status exec.CodeExitError
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(status.Code)
	case c.mode == "attach" && errors.Is(err, context.DeadlineExceeded):
		// An attach has no end of its own; the time that was asked for is its end.
	default:
		fmt.Fprintln(os.Stderr, "spdyexec:", err)
		os.Exit(1)
	}
}

func parse() *call {
	c := &call{}
	flag.StringVar(&c.mode, "mode", "exec", "exec, attach or portforward")
	flag.StringVar(&c.method, "method", http.MethodPost, "GET or POST: it decides which verb the kubelet authorizes")
	flag.StringVar(&c.server, "server", "", "the kubelet, https://IP:10250")
	flag.StringVar(&c.namespace, "namespace", "default", "namespace of the pod")
	flag.StringVar(&c.pod, "pod", "", "name of the pod")
	flag.StringVar(&c.container, "container", "", "name of the container")
	flag.StringVar(&c.uid, "uid", "", "uid of the pod, for the longer form of the path")
	flag.IntVar(&c.port, "port", 0, "port in the pod, for portforward")
	flag.BoolVar(&c.stdin, "stdin", false, "copy stdin to the command or the port")
	flag.DurationVar(&c.timeout, "timeout", 30*time.Second, "end after this time; an attach ends well then")
	flag.StringVar(&c.tokenFile, "token-file", "", "file that holds the bearer token")
	flag.StringVar(&c.certFile, "cert", "", "client certificate")
	flag.StringVar(&c.keyFile, "key", "", "key of the client certificate")
	flag.StringVar(&c.ca, "ca", "", "certificate of the CA that signed the kubelet's")
	flag.BoolVar(&c.insecure, "insecure", false, "do not verify the kubelet's certificate")
	flag.Parse()
	c.command = flag.Args()
	complete := c.server != "" && c.pod != ""
	switch c.mode {
	case "exec":
		complete = complete && c.container != "" && len(c.command) > 0
	case "attach":
		complete = complete && c.container != ""
	case "portforward":
		complete = complete && c.port != 0
	default:
		complete = false
	}
	if !complete {
		fmt.Fprintln(os.Stderr, "usage: spdyexec --server https://IP:10250 --token-file FILE --insecure --pod POD --container C [--mode exec|attach] -- COMMAND…\n"+
			"       spdyexec --mode portforward --server https://IP:10250 --token-file FILE --insecure --pod POD --port N")
		os.Exit(2)
	}
	return c
}

func (c *call) config() *rest.Config {
	return &rest.Config{
		Host:            c.server,
		BearerTokenFile: c.tokenFile,
		TLSClientConfig: rest.TLSClientConfig{Insecure: c.insecure, CAFile: c.ca, CertFile: c.certFile, KeyFile: c.keyFile},
	}
}

// url gives the kubelet's own path, /exec/{namespace}/{pod}[/{uid}]/{container}; a port forward has no container.
func (c *call) url() (*url.URL, error) {
	base, err := url.Parse(c.server)
	if err != nil {
		return nil, err
	}
	endpoint := map[string]string{"exec": "exec", "attach": "attach", "portforward": "portForward"}[c.mode]
	segments := []string{endpoint, c.namespace, c.pod}
	if c.uid != "" {
		segments = append(segments, c.uid)
	}
	query := url.Values{}
	if c.mode == "portforward" {
		query.Set("port", strconv.Itoa(c.port))
	} else {
		segments = append(segments, c.container)
		query.Set("output", "1")
		query.Set("error", "1")
		if c.stdin {
			query.Set("input", "1")
		}
	}
	if c.mode == "exec" {
		query["command"] = c.command
	}
	target := base.JoinPath(segments...)
	target.RawQuery = query.Encode()
	return target, nil
}

// stream runs an exec or an attach.
func (c *call) stream(ctx context.Context) error {
	target, err := c.url()
	if err != nil {
		return err
	}
	executor, err := remotecommand.NewSPDYExecutor(c.config(), c.method, target)
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	if c.stdin {
		options.Stdin = os.Stdin
	}
	return executor.StreamWithContext(ctx, options)
}
