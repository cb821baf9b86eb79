// Command kubeletget reads pages of a kubelet with a bearer token, one after the other on one connection, as a scraper does.
//
// It prints the status and the path of each. The exit status is 0 when every page was answered, whatever the status was, 1 when
// one was not, 2 on wrong usage.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	server := flag.String("server", "", "the kubelet, https://IP:10250")
	tokenFile := flag.String("token-file", "", "file that holds the bearer token")
	flag.Parse()
	if *server == "" || *tokenFile == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: kubeletget --server https://IP:10250 --token-file FILE PATH…")
		os.Exit(2)
	}
	if err := read(*server, *tokenFile, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kubeletget:", err)
		os.Exit(1)
	}
}

func read(server, tokenFile string, paths []string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	// Agents seldom have the CA of the kubelet's certificate, and most of them do not verify it.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for _, path := range paths {
		request, err := http.NewRequest(http.MethodGet, server+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Println(response.StatusCode, path)
	}
	return nil
}
