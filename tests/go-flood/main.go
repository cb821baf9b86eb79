// Command kubeflood sends a kubelet as many requests as it can answer, over connections that stay open, or opens thousands of sessions.
//
// `{n}` in the path and in headers is the number of the request, so that each one can be another. Upgrades have a connection of their own
// each; what comes over them is read until the kubelet ends the session, or, with --hang-up, not at all.
//
// The answers are counted by status, as kubeletcall does it. It ends after --count requests, after --for, or at SIGTERM.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type flood struct {
	address     string
	method      string
	path        string
	headers     []string
	count       int64
	connections int
	rate        float64
	lasts       time.Duration
	upgrade     string
	hangUp      bool
	cut         int64
	retry       time.Duration
	certificate []tls.Certificate
	begun       atomic.Int64
	start       time.Time
}

func main() {
	f, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	if f.lasts > 0 {
		stop, cancel = context.WithTimeout(stop, f.lasts)
		defer cancel()
	}
	tally := &tally{counts: map[int]int64{}}
	f.start = time.Now()
	var workers sync.WaitGroup
	for range f.connections {
		workers.Go(func() { f.work(stop, tally) })
	}
	workers.Wait()
	if tally.first != nil {
		fmt.Fprintln(os.Stderr, "the first that failed:", tally.first)
	}
	tally.print(os.Stdout)
}

func parse() (*flood, error) {
	f := &flood{}
	var token, certificate, key string
	flag.StringVar(&f.address, "address", "", "where the kubelet listens, ADDRESS:PORT")
	flag.StringVar(&f.method, "method", "GET", "the method")
	flag.StringVar(&f.path, "path", "/healthz", "path and query")
	flag.Func("header", "NAME: VALUE; may be given again", func(header string) error {
		f.headers = append(f.headers, header)
		return nil
	})
	flag.StringVar(&token, "token-file", "", "a bearer token; - for standard input")
	flag.StringVar(&certificate, "cert", "", "a client certificate")
	flag.StringVar(&key, "key", "", "its key")
	flag.Int64Var(&f.count, "count", 0, "requests; 0 for no limit")
	flag.IntVar(&f.connections, "connections", 16, "connections at once")
	flag.Float64Var(&f.rate, "rate", 0, "requests a second over all connections, at most; 0 for no limit")
	flag.DurationVar(&f.lasts, "for", 0, "how long; 0 for no limit")
	flag.StringVar(&f.upgrade, "upgrade", "", "websocket or spdy: each request is a session of its own")
	flag.BoolVar(&f.hangUp, "hang-up", false, "end each session as soon as it is open")
	flag.Int64Var(&f.cut, "cut", -1, "read so many bytes of each answer, then reset the connection; counted as 499")
	flag.DurationVar(&f.retry, "retry", 0, "how long to try again where nobody listens")
	flag.Parse()
	if f.address == "" || f.connections < 1 {
		return nil, errors.New("--address and at least one connection are needed; see --help")
	}
	if token != "" {
		from := os.Stdin
		if token != "-" {
			var err error
			if from, err = os.Open(token); err != nil {
				return nil, err
			}
		}
		content, err := io.ReadAll(from)
		if err != nil {
			return nil, err
		}
		f.headers = append(f.headers, "Authorization: Bearer "+strings.TrimSpace(string(content)))
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		f.certificate = []tls.Certificate{pair}
	}
	switch f.upgrade {
	case "":
	case "websocket":
		f.headers = append(f.headers, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	case "spdy":
		f.headers = append(f.headers, "Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io")
	default:
		return nil, fmt.Errorf("--upgrade %q is neither websocket nor spdy", f.upgrade)
	}
	return f, nil
}

// connection is one to the kubelet, with its reader.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func (f *flood) work(stop context.Context, tally *tally) {
	var open *connection
	defer func() {
		if open != nil {
			open.Close()
		}
	}()
	for {
		number := f.begun.Add(1)
		if (f.count > 0 && number > f.count) || stop.Err() != nil {
			return
		}
		f.pace(stop, number)
		if stop.Err() != nil {
			return
		}
		if open == nil {
			var err error
			if open, err = f.dial(stop); err != nil {
				if stop.Err() == nil {
					tally.add(0, err)
				}
				continue
			}
		}
		status, reusable, err := f.ask(open, number)
		tally.add(status, err)
		if err != nil || !reusable {
			open.Close()
			open = nil
		}
	}
}

// pace waits until it is the turn of a request.
func (f *flood) pace(stop context.Context, number int64) {
	if f.rate <= 0 {
		return
	}
	due := f.start.Add(time.Duration(float64(number) / f.rate * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
	case <-stop.Done():
	}
}

func (f *flood) dial(stop context.Context) (*connection, error) {
	// The certificates of a test cluster are its own affair; what the kubelet says to whom is what is tested.
	config := &tls.Config{InsecureSkipVerify: true, Certificates: f.certificate, NextProtos: []string{"http/1.1"}}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second}, Config: config}
	deadline := time.Now().Add(f.retry)
	for {
		conn, err := dialer.DialContext(stop, "tcp", f.address)
		if err == nil {
			return &connection{conn, bufio.NewReader(conn)}, nil
		}
		if stop.Err() != nil || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ask sends a request and reads its answer; whether the connection can take another one.
func (f *flood) ask(conn *connection, number int64) (int, bool, error) {
	var request strings.Builder
	n := strconv.FormatInt(number, 10)
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\n", f.method, strings.ReplaceAll(f.path, "{n}", n), f.address)
	for _, header := range f.headers {
		request.WriteString(strings.ReplaceAll(header, "{n}", n))
		request.WriteString("\r\n")
	}
	request.WriteString("\r\n")
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return 0, false, err
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return 0, false, err
	}
	if f.cut >= 0 {
		return f.reset(conn)
	}
	response, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		return 0, false, err
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		if !f.hangUp {
			// How a session ends is no matter of the request.
			_, _ = io.Copy(io.Discard, conn.reader)
		}
		return response.StatusCode, false, nil
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, false, err
	}
	return response.StatusCode, !response.Close && f.upgrade == "", nil
}

// reset ends a connection in the middle of an answer, without a word.
func (f *flood) reset(conn *connection) (int, bool, error) {
	if _, err := io.CopyN(io.Discard, conn.reader, f.cut); err != nil {
		return 0, false, err
	}
	if tcp, ok := conn.Conn.(*tls.Conn).NetConn().(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return 0, false, err
		}
		tcp.Close()
	}
	return 499, false, nil
}

// tally counts answers by status.
type tally struct {
	lock   sync.Mutex
	counts map[int]int64
	failed int64
	first  error
}

func (t *tally) add(status int, err error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if err == nil {
		t.counts[status]++
		return
	}
	t.failed++
	if t.first == nil {
		t.first = err
	}
}

func (t *tally) print(to io.Writer) {
	statuses := make([]int, 0, len(t.counts))
	for status := range t.counts {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	fmt.Fprintln(to, "\nanswers")
	for _, status := range statuses {
		fmt.Fprintln(to, status, t.counts[status])
	}
	if t.failed > 0 {
		fmt.Fprintln(to, "failed", t.failed)
	}
}
