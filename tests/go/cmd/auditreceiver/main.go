// Command auditreceiver is an audit webhook's other end: it takes POSTs of audit.k8s.io/v1 EventLists over TLS from clients with a
// certificate, decodes them strictly with the API server's own types, and appends their events to a file, one JSON line each.
//
// A list is answered with 200 after its events are in the file, so that a kill of the receiver loses none that it took. How it behaves is
// read from a file before each answer: `ok`, an HTTP status such as `503`, `hang` (no answer), `forget` (takes the events,
// and no answer), `full N` (413 for lists of more than N events), `sulk TEXT` (403 for lists that hold the text). A list that is not as it should be is answered with 400, and told on stderr.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"kubewitness.dev/tests/internal/audit"
)

// largest is what the API server's truncating backend makes of a batch at most.
const largest = 10 << 20

type receiver struct {
	path, mood string
	lock       sync.Mutex
	file       *os.File
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; the one that was taken is printed as `listening ADDRESS`")
	certificate := flag.String("certificate", "", "PEM file of the server's certificate")
	key := flag.String("key", "", "PEM file of its key")
	clientCA := flag.String("client-ca", "", "PEM file of the CA that signed the clients' certificates")
	path := flag.String("path", "/audit", "where lists are taken, exactly")
	out := flag.String("out", "", "file that gets the events")
	mood := flag.String("mood", "", "file that says how it behaves; ok without it")
	flag.Parse()
	file, err := open(*out)
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(*clientCA)
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		log.Fatalf("%s holds no certificate", *clientCA)
	}
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", *listen, &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    clients,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	log.Fatal(http.Serve(listener, &receiver{path: *path, mood: *mood, file: file}))
}

// open makes the file end with a whole line: a receiver that was killed may have left a part of one.
func open(path string) (*os.File, error) {
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if whole := bytes.LastIndexByte(content, '\n') + 1; whole < len(content) {
		if err := os.Truncate(path, int64(whole)); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

func (r *receiver) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, largest))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	lines, count, err := r.decode(request, body)
	if err != nil {
		log.Print(err)
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	word, rest, _ := strings.Cut(r.behaviour(), " ")
	switch word {
	case "", "ok", "forget":
	case "hang":
		<-request.Context().Done()
		return
	case "full":
		if most, err := strconv.Atoi(rest); err != nil || count > most {
			http.Error(writer, "too many", http.StatusRequestEntityTooLarge)
			return
		}
	case "sulk":
		if bytes.Contains(body, []byte(rest)) {
			http.Error(writer, "an attack", http.StatusForbidden)
			return
		}
	default:
		status, err := strconv.Atoi(word)
		if err != nil {
			status = http.StatusInternalServerError
		}
		http.Error(writer, "as I was told", status)
		return
	}
	if err := r.write(lines); err != nil {
		log.Print(err)
		http.Error(writer, err.Error(), http.StatusInternalServerError)
		return
	}
	if word == "forget" {
		<-request.Context().Done()
	}
}

func (r *receiver) write(lines []byte) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	_, err := r.file.Write(lines)
	return err
}

func (r *receiver) behaviour() string {
	if r.mood == "" {
		return ""
	}
	mood, err := os.ReadFile(r.mood)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(mood))
}

// decode gives the events of a list as JSON lines, and their number.
func (r *receiver) decode(request *http.Request, body []byte) ([]byte, int, error) {
	if request.Method != http.MethodPost || request.URL.Path != r.path || request.Header.Get("Content-Type") != "application/json" {
		return nil, 0, fmt.Errorf("%s %s with %q is no list of events", request.Method, request.URL.Path, request.Header.Get("Content-Type"))
	}
	var list auditv1.EventList
	if err := audit.Decode(body, &list); err != nil {
		return nil, 0, err
	}
	if list.Kind != "EventList" || list.APIVersion != auditv1.SchemeGroupVersion.String() || len(list.Items) == 0 {
		return nil, 0, fmt.Errorf("kind %q of apiVersion %q with %d items", list.Kind, list.APIVersion, len(list.Items))
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for number := range list.Items {
		if err := audit.Check(&list.Items[number]); err != nil {
			return nil, 0, fmt.Errorf("item %d: %w", number, err)
		}
		if err := encoder.Encode(&list.Items[number]); err != nil {
			return nil, 0, err
		}
	}
	return lines.Bytes(), len(list.Items), nil
}
