// Command kubeletcall sends the same request to a kubelet once, many times, or until SIGTERM, and prints how it was answered: the line
// `answers`, one line `STATUS COUNT` for each status, and `failed COUNT` where no answer came (the first reason is on stderr).
//
// An upgrade is a request with the headers for it: after a 101 the stream is held open until the other end closes it, or SIGTERM. What
// comes over it is read as WebSocket's frames where the bodies are asked for.
// It uses HTTP/1.1 and one connection a worker. The exit status is 0 when every request was answered, 1 when one was not, 2 on wrong usage.
package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// call is what was typed.
type call struct {
	url, method, tokenFile  string
	headers                 http.Header
	count, concurrency      int
	pause, timeout, refused time.Duration
	body                    bool
}

func main() {
	c := parse()
	if err := c.readToken(); err != nil {
		fmt.Fprintln(os.Stderr, "kubeletcall:", err)
		os.Exit(2)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	tally := c.run(stop)
	tally.print()
	if tally.first != nil {
		fmt.Fprintln(os.Stderr, "kubeletcall:", tally.first)
		os.Exit(1)
	}
}

func parse() *call {
	c := &call{headers: http.Header{}}
	flag.StringVar(&c.url, "url", "", "what to ask for, https://IP:10250/PATH")
	flag.StringVar(&c.method, "method", http.MethodGet, "HTTP method")
	flag.StringVar(&c.tokenFile, "token-file", "", "file that holds the bearer token, - for standard input; no token without it")
	flag.Func("header", "NAME: VALUE, repeatable", c.addHeader)
	flag.IntVar(&c.count, "count", 1, "requests in all; 0 goes on until SIGTERM")
	flag.IntVar(&c.concurrency, "concurrency", 1, "workers, each with a connection of its own")
	flag.DurationVar(&c.pause, "pause", 0, "rest of a worker between two requests")
	flag.DurationVar(&c.timeout, "timeout", 30*time.Second, "wait this long for the head of an answer")
	flag.DurationVar(&c.refused, "while-refused", 0, "try again for this long while the connection is refused")
	flag.BoolVar(&c.body, "body", false, "also print the bodies, before the counts")
	flag.Parse()
	if c.url == "" || flag.NArg() > 0 || c.count < 0 || c.concurrency < 1 {
		fmt.Fprintln(os.Stderr, "usage: kubeletcall --url https://IP:10250/PATH [--token-file FILE] [--count N] [--concurrency N]; see --help")
		os.Exit(2)
	}
	return c
}

func (c *call) addHeader(text string) error {
	name, value, found := strings.Cut(text, ":")
	if !found {
		return errors.New("a header is NAME: VALUE")
	}
	c.headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

func (c *call) readToken() error {
	if c.tokenFile == "" {
		return nil
	}
	read := func() ([]byte, error) { return os.ReadFile(c.tokenFile) }
	if c.tokenFile == "-" {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	token, err := read()
	if err != nil {
		return err
	}
	c.headers.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}

// run shares the requests out to the workers. A request that was begun is waited for, also after SIGTERM.
func (c *call) run(stop context.Context) *tally {
	tally := &tally{counts: map[int]int{}}
	tickets := make(chan struct{})
	go func() {
		defer close(tickets)
		for sent := 0; c.count == 0 || sent < c.count; sent++ {
			select {
			case tickets <- struct{}{}:
			case <-stop.Done():
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range c.concurrency {
		workers.Go(func() {
			client := &http.Client{
				// The certificates of a test cluster are its own affair; what the kubelet says to whom is what is tested.
				Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ResponseHeaderTimeout: c.timeout},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			for range tickets {
				tally.add(c.send(stop, client))
				time.Sleep(c.pause)
			}
		})
	}
	workers.Wait()
	return tally
}

func (c *call) send(stop context.Context, client *http.Client) (int, error) {
	deadline := time.Now().Add(c.refused)
	for {
		status, err := c.try(stop, client)
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) || stop.Err() != nil {
			return status, err
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *call) try(stop context.Context, client *http.Client) (int, error) {
	request, err := http.NewRequest(c.method, c.url, nil)
	if err != nil {
		return 0, err
	}
	request.Header = c.headers.Clone()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	sink := io.Discard
	if c.body {
		sink = os.Stdout
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Whoever waits for the upgrade reads this line.
		fmt.Println("upgraded")
		defer context.AfterFunc(stop, func() { response.Body.Close() })()
		// How a held stream ends is no matter of the request.
		_ = payloads(sink, response.Body)
		return response.StatusCode, nil
	}
	if _, err := io.Copy(sink, response.Body); err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}

// payloads copies what a kubelet sends over WebSocket, each message without its first byte, which names the channel. A server's frames
// are not masked (RFC 6455, section 5.1).
func payloads(to io.Writer, from io.Reader) error {
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		length := uint64(head[1])
		if longer := map[uint64]int{126: 2, 127: 8}[length]; longer > 0 {
			field := make([]byte, 8)
			if _, err := io.ReadFull(from, field[8-longer:]); err != nil {
				return err
			}
			length = binary.BigEndian.Uint64(field)
		}
		frame := io.LimitReader(from, int64(length))
		// Opcodes above 2 are pings and the close.
		if head[0]&0x0f <= 2 {
			if _, err := io.CopyN(io.Discard, frame, min(1, int64(length))); err != nil {
				return err
			}
			if _, err := io.Copy(to, frame); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, frame); err != nil {
			return err
		}
	}
}

// tally counts answers by status.
type tally struct {
	lock   sync.Mutex
	counts map[int]int
	failed int
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

func (t *tally) print() {
	statuses := make([]int, 0, len(t.counts))
	for status := range t.counts {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	fmt.Println("\nanswers")
	for _, status := range statuses {
		fmt.Println(status, t.counts[status])
	}
	if t.failed > 0 {
		fmt.Println("failed", t.failed)
	}
}
