package refusal

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

// TestAlert: what crypto/tls returns when a server wants a certificate that its
// client does not have.
func TestAlert(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	pair := root.Issue(t, "127.0.0.1", end)
	for version, want := range map[uint16]string{tls.VersionTLS12: "remote error: tls: handshake failure", tls.VersionTLS13: "remote error: tls: certificate required"} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{pair.TLS()}, ClientAuth: tls.RequireAnyClientCert, MinVersion: version, MaxVersion: version,
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}
		}()
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: root.Pool()})
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if alert := Alert(fmt.Errorf("connect: %w", err)); alert == nil || alert.Error() != want {
			t.Errorf("%v is the alert %v, want %s", err, alert, want)
		}
		_ = l.Close()
	}
	for _, err := range []error{nil, errors.New("away"), &net.OpError{Op: "dial", Err: errors.New("refused")}} {
		if alert := Alert(err); alert != nil {
			t.Errorf("%v is the alert %v", err, alert)
		}
	}
}
