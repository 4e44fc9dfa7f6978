package mqtt

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/settings"
)

// files are the PEM files of a device.
type files struct {
	t   *testing.T
	tls settings.TLS
}

func newFiles(t *testing.T) *files {
	dir := t.TempDir()
	return &files{t, settings.TLS{CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}}
}

func (f *files) write(name, kind string, der []byte) {
	f.t.Helper()
	must(f.t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (f *files) trust(a *authority) { f.write(f.tls.CAFile, "CERTIFICATE", a.certificate.Raw) }

func (f *files) certificate(pair tls.Certificate) {
	f.write(f.tls.CertFile, "CERTIFICATE", pair.Certificate[0])
}

func (f *files) key(pair tls.Certificate) {
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(f.t, err)
	f.write(f.tls.KeyFile, "PRIVATE KEY", der)
}

// TestRenewedFiles replaces the client's certificate, then all three files at a
// change of authorities: each is used at the next connection. Between the writing
// of a certificate and of its key there is no connection, and no end either.
func TestRenewedFiles(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	var authority atomic.Pointer[authority]
	authority.Store(before)
	seen := make(chan []byte, 100) // the certificates of the clients that are let in
	b := startBroker(t, "127.0.0.1:0", &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		a := authority.Load()
		return &tls.Config{
			Certificates: []tls.Certificate{a.issue(t, "127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
			VerifyConnection: func(s tls.ConnectionState) error {
				seen <- s.PeerCertificates[0].Raw
				return nil
			},
		}, nil
	}}, &rules{})
	network := startLine(t, b.addr())
	files := newFiles(t)
	broker := config.MQTT{URL: "tls://" + network.Addr().String(), TLS: files.tls}

	first, second, third := before.issue(t, "dev"), before.issue(t, "dev"), after.issue(t, "dev")
	files.trust(before)
	files.certificate(first)
	files.key(first)
	o := options(broker.URL)
	o.TLS = func() (*tls.Config, error) { return broker.ClientTLS() }
	o.BackoffMin, o.BackoffMax = time.Millisecond, 20*time.Millisecond
	c := run(t, o)
	connectedWith := func(what string, pair tls.Certificate) {
		t.Helper()
		wait(t, c.events.connected, "a connection with "+what)
		var got []byte
		for len(seen) > 0 {
			got = <-seen
		}
		if !bytes.Equal(got, pair.Certificate[0]) {
			t.Errorf("connected with another certificate than %s", what)
		}
	}
	connectedWith("the first certificate", first)

	files.certificate(second)
	network.cut()
	for line := ""; line != `level=ERROR msg="broker refuses the agent" reason=tls_files`; {
		line = wait(t, c.log.lines, "the files' error")
	}
	files.key(second)
	connectedWith("the renewed certificate", second)

	authority.Store(after)
	files.trust(after)
	files.certificate(third)
	files.key(third)
	network.cut()
	connectedWith("the new authority's certificate", third)
}
