package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// The paths of [Ask].
const (
	Health = "/healthz"
	Ready  = "/readyz"
)

// maxAnswer bounds what is shown of an answer.
const maxAnswer = 16 << 10

// Ask asks the endpoint that a process on this host, or in this container, has
// by the configuration c for path, and returns nil if it answers 200. The error
// of another answer has its text. Of an endpoint with TLS the certificate must be
// the one in c.TLS.CertFile; its names do not count, as few certificates are made
// out to a loopback address. No proxy is used and no redirect followed.
func Ask(ctx context.Context, c Config, path string) error {
	address, err := dialled(c.Listen)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	url := "http://" + address + path
	if c.TLS.CertFile != "" {
		url = "https://" + address + path
		transport.TLSClientConfig = pinned(c.TLS.CertFile)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %s: %w", url, response.Status, err)
	}
	return fmt.Errorf("%s: %s\n%s", url, response.Status, strings.TrimSpace(string(text)))
}

// dialled returns where to reach what listens on an address: a host that stands
// for all addresses is asked on the loopback.
func dialled(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New("metrics.listen has port 0, one that the system chooses and nobody else knows: give it a port")
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

var errPinned = errors.New("the certificate is not the one in metrics.tls.cert_file: another process, or one that was started with another configuration, listens there")

// pinned returns a client's TLS that takes the certificate in a file, and no
// other. It is read when the server has shown its own, as the server reads a
// renewed one for each connection.
func pinned(file string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
				if block.Type == "CERTIFICATE" {
					if bytes.Equal(block.Bytes, s.PeerCertificates[0].Raw) {
						return nil
					}
					break // those behind it signed it
				}
			}
			return errPinned
		},
	}
}
