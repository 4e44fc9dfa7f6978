package settings

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// TLS is the group of settings of a TLS client. The zero TLS trusts the host's
// certificate authorities and presents no certificate.
type TLS struct {
	CAFile     string `yaml:"ca_file" help:"PEM file of the certificate authorities to trust (empty: the host's)"`
	CertFile   string `yaml:"cert_file" help:"PEM file of the client's certificate"`
	KeyFile    string `yaml:"key_file" help:"PEM file of the client certificate's private key"`
	ServerName string `yaml:"server_name" help:"name that the server's certificate must have (empty: the host in the address)"`
}

// Validate reports a certificate without its key, and a key without its
// certificate.
func (t TLS) Validate(report func(path, value, want string)) {
	if (t.CertFile == "") == (t.KeyFile == "") {
		return
	}
	if t.CertFile == "" {
		report("cert_file", "", "the certificate that belongs to key_file")
	} else {
		report("key_file", "", "the private key that belongs to cert_file")
	}
}

// Client returns the configuration of a TLS 1.2 or later client. The
// certificate authorities are read now; the client's certificate and key are
// read now, to find errors early, and again at each handshake, so that a
// renewed certificate needs no restart.
func (t TLS) Client() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities: %s: %w", t.CAFile, errNoCertificate)
		}
	}
	if t.CertFile != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("client certificate: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		c.GetClientCertificate = load
	}
	return c, nil
}

var errNoCertificate = errors.New("no certificate in PEM form")

// ValidateBroker reports what is wrong with the address of an MQTT broker,
// the setting url, and with the group tls beside it.
func ValidateBroker(url string, t TLS, report func(path, value, want string)) {
	scheme, address, _ := strings.Cut(url, "://")
	switch {
	case url == "":
		report("url", "", wantBroker)
	case strings.Contains(address, "@"):
		report("url", "", wantBroker+"; user and password belong in username and password_file")
	case scheme != "tcp" && scheme != "tls" || !IsHostPort(address):
		report("url", "", wantBroker)
	}
	if scheme != "tcp" {
		return
	}
	for _, s := range []struct{ key, value string }{
		{"ca_file", t.CAFile}, {"cert_file", t.CertFile}, {"key_file", t.KeyFile}, {"server_name", t.ServerName},
	} {
		if s.value != "" {
			report("tls."+s.key, "", "a url that begins with tls:// if there is a tls setting")
		}
	}
}

// ValidateKeepAlive reports what is wrong with an MQTT keep alive interval, the
// setting keep_alive, which travels as 16 bits of seconds (MQTT 3.1.1, 3.1.2.10).
func ValidateKeepAlive(d time.Duration, report func(path, value, want string)) {
	if d < time.Second || d > math.MaxUint16*time.Second || d%time.Second != 0 {
		report("keep_alive", formatDuration(d), "a duration of whole seconds from 1s to 18h12m15s")
	}
}

const wantBroker = "the broker as tcp://HOST:PORT or tls://HOST:PORT"

// Log is the group of settings of a program's log, which goes to its standard
// error.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" help:"least level that is logged"`
	Format string `yaml:"format" enum:"text,json" help:"form of a log line"`
}

// WantHostPort says what [IsHostPort] accepts.
const WantHostPort = "a host and a port, such as kafka-1:9092 or [::1]:9092"

// IsHostPort reports whether s is a server's address: a host and a port that is
// not 0.
func IsHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// WantListen says what [IsListen] accepts.
const WantListen = "an address to listen on, such as 127.0.0.1:9464 or :9464"

// IsListen reports whether s is an address to listen on: any host or none, and
// a port, 0 being one that the system chooses.
func IsListen(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
