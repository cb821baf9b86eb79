// Multicall runs an API server and a kubelet in one process, as k3s and other small distributions do: one executable, one set of
// package variables, and both halves ask authorizers.
//
// The API server's flags come first, then `--`, then the kubelet's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "multicall:", err)
		os.Exit(1)
	}
}

// run ends with whichever half ends first.
func run(args []string) error {
	between := slices.Index(args, "--")
	if between < 0 {
		return errors.New("no `--` between the flags of the API server and those of the kubelet")
	}
	// Both halves set up logging, which only one may do otherwise.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := complete(ctx, args[:between])
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	ended := make(chan error, 2)
	go func() { ended <- apiserver.Run(ctx, server) }()
	go func() {
		command := kubelet.NewKubeletCommand(ctx)
		command.SetArgs(args[between+1:])
		ended <- command.ExecuteContext(ctx)
	}()
	return <-ended
}

// complete reads the API server's flags. Its own command would set up the signals, which the kubelet does.
func complete(ctx context.Context, args []string) (options.CompletedOptions, error) {
	var none options.CompletedOptions
	server := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return none, err
	}
	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return none, err
	}
	completed, err := server.Complete(ctx)
	if err != nil {
		return none, err
	}
	return completed, utilerrors.NewAggregate(completed.Validate())
}
