// Command kubeletserver serves the kubelet's real HTTP server (k8s.io/kubernetes/pkg/kubelet/server) without a kubelet behind it: over TLS,
// with three users by their tokens, an authorizer with fixed answers, and a runtime that answers every upgrade 101 and then says goodbye.
//
// It is for machines where no container can run. What the agent looks at is all here, compiled as in a kubelet.
//
//	token    user                                     nodes/pods  nodes/metrics  nodes/proxy
//	reader   system:serviceaccount:test:reader        allow       allow          no opinion
//	fallback system:serviceaccount:test:fallback      no opinion  no opinion     allow
//	nobody   system:serviceaccount:test:nobody        no opinion  no opinion     no opinion
//	         (none)                                   401
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	cadvisorv2 "github.com/google/cadvisor/info/v2"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/server"
	"k8s.io/kubernetes/pkg/kubelet/server/stats"
)

// node is the server's name in the questions that it asks.
const node = "node1"

func main() {
	port := flag.Int("port", 10250, "where to serve, on 127.0.0.1")
	readOnly := flag.Int("read-only-port", 0, "where to serve without TLS and without asking who it is, from stacks of all depths; 0 for nowhere")
	flag.Parse()
	runtime, err := serveRuntime()
	if err != nil {
		fail(err)
	}
	certificate, err := selfSigned()
	if err != nil {
		fail(err)
	}
	host := &host{runtime: runtime}
	configuration := &kubeletconfig.KubeletConfiguration{Address: "127.0.0.1", Port: int32(*port), EnableDebuggingHandlers: true}
	protocols := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	auth := server.NewKubeletAuth(authenticator.RequestFunc(authenticate), server.NewNodeAuthorizerAttributesGetter(node),
		authorizer.AuthorizerFunc(authorize), nil)
	if *readOnly != 0 {
		go serveReadOnly(host, *readOnly)
	}
	server.ListenAndServeKubeletServer(context.Background(), host, analyzer{}, nil, nil, configuration, protocols, auth,
		nooptrace.NewTracerProvider())
}

// serveReadOnly does what the kubelet's read-only port does, but calls the server from a depth of the stack that is another one for each
// request: some find no room just where the server begins, and their stack grows there.
func serveReadOnly(host *host, port int) {
	handler := server.NewServer(context.Background(), host, analyzer{}, nil, nil, nil, nil)
	var requests atomic.Int64
	deeper := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		atDepth(requests.Add(1)%depths, func() { handler.ServeHTTP(w, request) })
	})
	fail(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", port), deeper))
}

// depths times the frame of atDepth is more than a stack doubles by while it is small.
const depths = 100

//go:noinline
func atDepth(depth int64, work func()) {
	if depth == 0 {
		work()
		return
	}
	// Something to come back for, so that this is a call and no jump.
	defer func(int64) {}(depth)
	atDepth(depth-1, work)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kubeletserver:", err)
	os.Exit(1)
}

// authenticate knows a user by the token in the header.
func authenticate(request *http.Request) (*authenticator.Response, bool, error) {
	name, found := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !found || name != "reader" && name != "fallback" && name != "nobody" {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name:   "system:serviceaccount:test:" + name,
		UID:    "11111111-2222-3333-4444-555555555555",
		Groups: []string{"system:serviceaccounts", "system:authenticated"},
		Extra:  map[string][]string{"authentication.kubernetes.io/pod-name": {name + "-0"}},
	}}, true, nil
}

// authorize gives the answers of the table above.
func authorize(_ context.Context, question authorizer.Attributes) (authorizer.Decision, string, error) {
	name := strings.TrimPrefix(question.GetUser().GetName(), "system:serviceaccount:test:")
	switch {
	case name == "reader" && question.GetSubresource() != "proxy", name == "fallback" && question.GetSubresource() == "proxy":
		return authorizer.DecisionAllow, "fixed: " + name + " may " + question.GetVerb() + " nodes/" + question.GetSubresource(), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// serveRuntime answers every upgrade with 101, keeps the stream for a moment and closes it; gives the address.
func serveRuntime() (*url.URL, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				fail(err)
			}
			go func() {
				defer connection.Close()
				request, err := http.ReadRequest(bufio.NewReader(connection))
				if err != nil {
					return
				}
				fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", request.Header.Get("Upgrade"))
				time.Sleep(50 * time.Millisecond)
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}, nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{node}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// errNone is what this node says where a real one would ask its containers.
var errNone = errors.New("this server has no kubelet")

// host is what the server asks of a kubelet: every pod that is asked for is there, but for `panic`, at which the handler panics; one is
// listed.
type host struct {
	// What is not below nobody asks for: the figures of containers.
	stats.Provider
	runtime *url.URL
}

func pod(namespace, name string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "99999999-2222-3333-4444-555555555555"}}
}

func (h *host) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	if name == "panic" {
		panic("asked for the pod of that name")
	}
	if name == "panic" {
		panic("asked for the pod of that name")
	}
	return pod(namespace, name), true
}
func (h *host) GetPods() []*v1.Pod                                { return []*v1.Pod{pod("default", "web")} }
func (h *host) GetRunningPods(context.Context) ([]*v1.Pod, error) { return h.GetPods(), nil }
func (h *host) SyncLoopHealthCheck(*http.Request) error           { return nil }
func (h *host) ServeLogs(w http.ResponseWriter, _ *http.Request)  { _, _ = io.WriteString(w, "none\n") }

func (h *host) RunInContainer(context.Context, string, types.UID, string, []string) ([]byte, error) {
	return []byte("done\n"), nil
}

func (h *host) GetExec(context.Context, string, types.UID, string, []string, remotecommand.Options) (*url.URL, error) {
	return h.runtime, nil
}

func (h *host) GetAttach(context.Context, string, types.UID, string, remotecommand.Options) (*url.URL, error) {
	return h.runtime, nil
}

func (h *host) GetPortForward(context.Context, string, string, types.UID, portforward.V4Options) (*url.URL, error) {
	return h.runtime, nil
}

func (h *host) GetKubeletContainerLogs(_ context.Context, _, _ string, _ *v1.PodLogOptions, stdout, _ io.Writer) error {
	_, err := io.WriteString(stdout, "a line\n")
	return err
}

func (h *host) CheckpointContainer(context.Context, types.UID, string, string, *runtimeapi.CheckpointContainerRequest) error {
	return errNone
}

func (h *host) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

func (h *host) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}
func (h *host) GetVersionInfo() (*cadvisorapi.VersionInfo, error) {
	return &cadvisorapi.VersionInfo{}, nil
}
func (h *host) GetCachedMachineInfo() (*cadvisorapi.MachineInfo, error) {
	return &cadvisorapi.MachineInfo{}, nil
}

func (h *host) GetRequestedContainersInfo(string, cadvisorv2.RequestOptions) (map[string]*cadvisorapi.ContainerInfo, error) {
	return map[string]*cadvisorapi.ContainerInfo{}, nil
}

// analyzer has no figures.
type analyzer struct{}

func (analyzer) Start(context.Context) {}

func (analyzer) Get(context.Context, bool) (*statsapi.Summary, error) { return nil, errNone }

func (analyzer) GetCPUAndMemoryStats(context.Context) (*statsapi.Summary, error) { return nil, errNone }

func (analyzer) GetPodVolumeStats(types.UID) (stats.PodVolumeStats, bool) {
	return stats.PodVolumeStats{}, false
}
