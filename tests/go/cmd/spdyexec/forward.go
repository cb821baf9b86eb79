package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// forward opens one connection to the port and copies it to stdout until the pod closes it.
func (c *call) forward(ctx context.Context) error {
	target, err := c.url()
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config())
	if err != nil {
		return err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, c.method, target)
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return err
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	return c.copyPort(connection)
}

// copyPort speaks the port forward protocol: an error stream and a data stream with the same request id.
func (c *call) copyPort(connection httpstream.Connection) error {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(c.port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := connection.CreateStream(headers)
	if err != nil {
		return err
	}
	failure.Close()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return err
	}
	if c.stdin {
		if _, err := io.Copy(data, os.Stdin); err != nil {
			return err
		}
	}
	data.Close()
	if _, err := io.Copy(os.Stdout, data); err != nil {
		return err
	}
	message, err := io.ReadAll(failure)
	if err != nil {
		return err
	}
	if len(message) > 0 {
		return errors.New(string(message))
	}
	return nil
}
