// Command kubelet is none. It is what somebody would build who wants to be taken for one: the module, the package, the functions and
// the process have the names of the real one, and it listens where the real one does. Nothing of Kubernetes is in it.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"k8s.io/kubernetes/pkg/kubelet/server"
)

func main() {
	address := flag.String("listen", "0.0.0.0:10250", "where to listen")
	name := flag.String("name", "kubelet", "what the process calls itself")
	flag.Parse()
	if err := run(*address, *name); err != nil {
		fmt.Fprintln(os.Stderr, "spoof:", err)
		os.Exit(1)
	}
}

func run(address, name string) error {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return http.Serve(listener, server.New())
}
