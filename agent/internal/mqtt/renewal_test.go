package mqtt

import (
	"bytes"
	"crypto/tls"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
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

func (f *files) trust(a *certificatetest.Issued) { certificatetest.Write(f.t, f.tls.CAFile, a.PEM()) }

func (f *files) certificate(pair *certificatetest.Issued) {
	certificatetest.Write(f.t, f.tls.CertFile, pair.PEM())
}

func (f *files) key(pair *certificatetest.Issued) {
	certificatetest.Write(f.t, f.tls.KeyFile, pair.KeyPEM(f.t))
}

// TestRenewedFiles replaces the client's certificate, then all three files at a
// change of authorities: each is used at the next connection. Between the writing
// of a certificate and of its key there is no connection, and no end either.
func TestRenewedFiles(t *testing.T) {
	end := time.Now().Add(time.Hour)
	before, after := certificatetest.Authority(t, end), certificatetest.Authority(t, end)
	var authority atomic.Pointer[certificatetest.Issued]
	authority.Store(before)
	seen := make(chan []byte, 100) // the certificates of the clients that are let in
	b := startBroker(t, "127.0.0.1:0", &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		a := authority.Load()
		return &tls.Config{
			Certificates: []tls.Certificate{a.Issue(t, "127.0.0.1", end).TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(),
			VerifyConnection: func(s tls.ConnectionState) error {
				seen <- s.PeerCertificates[0].Raw
				return nil
			},
		}, nil
	}}, &rules{})
	network := startLine(t, b.addr())
	files := newFiles(t)
	broker := config.MQTT{URL: "tls://" + network.Addr().String(), TLS: files.tls}

	first, second, third := before.Issue(t, "dev", end), before.Issue(t, "dev", end), after.Issue(t, "dev", end)
	files.trust(before)
	files.certificate(first)
	files.key(first)
	o := options(broker.URL)
	o.TLS = func() (*tls.Config, error) { return broker.ClientTLS() }
	o.BackoffMin, o.BackoffMax = time.Millisecond, 20*time.Millisecond
	c := run(t, o)
	connectedWith := func(what string, pair *certificatetest.Issued) {
		t.Helper()
		wait(t, c.events.connected, "a connection with "+what)
		var got []byte
		for len(seen) > 0 {
			got = <-seen
		}
		if !bytes.Equal(got, pair.Raw) {
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
