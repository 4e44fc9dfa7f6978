package diagnose

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
)

// soon is how long before a certificate's end one is warned of it.
const soon = 30 * 24 * time.Hour

// TLS reports the files of the connection to the broker. device is what the broker
// should find in the certificate.
func (m *Machine) TLS(c *config.MQTT, device string) []Finding {
	if !strings.HasPrefix(c.URL, "tls://") {
		return []Finding{{OK, "tls", "not used, as mqtt.url begins with tcp://", ""}}
	}
	return []Finding{m.authorities(c.TLS.CAFile), m.certificate(c.TLS.CertFile, c.TLS.KeyFile, device)}
}

// authorities reports those that may sign the broker's certificate.
func (m *Machine) authorities(file string) Finding {
	f := Finding{Level: OK, Check: "tls authorities", Seen: "those of this machine"}
	if file == "" {
		return f
	}
	f.Seen = file
	data, err := os.ReadFile(file)
	if err != nil {
		return m.unreadable(f, err)
	}
	chain, err := certificates(data)
	if err != nil {
		f.Level, f.Seen, f.Hint = Fail, fmt.Sprintf("%s: %v", file, err), "mqtt.tls.ca_file is to hold certificates in PEM form"
		return f
	}
	// One that is valid is enough: a file holds an old authority and its
	// successor at once.
	last := chain[0]
	for _, c := range chain {
		if c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	return m.validity(f, last)
}

var errNoCertificate = errors.New("no certificate in PEM form")

// certificates returns those in a PEM file, at least one.
func certificates(data []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errNoCertificate
	}
	return all, nil
}

// certificate reports the device's own.
func (m *Machine) certificate(certFile, keyFile, device string) Finding {
	f := Finding{Level: OK, Check: "tls certificate", Seen: "none: the user's name and password tell the broker who this is"}
	if certFile == "" {
		return f
	}
	f.Seen = certFile
	for _, file := range []string{certFile, keyFile} {
		if _, err := os.ReadFile(file); err != nil {
			return m.unreadable(f, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		f.Level, f.Seen = Fail, fmt.Sprintf("%s, %s: %v", certFile, keyFile, err)
		f.Hint = "mqtt.tls.cert_file and key_file are to hold a certificate and the key that belongs to it, in PEM form"
		return f
	}
	first := pair.Leaf
	for issued := pair.Leaf; len(pair.Certificate) > 1; pair.Certificate = pair.Certificate[1:] {
		issuer, err := x509.ParseCertificate(pair.Certificate[1])
		if err == nil {
			err = issued.CheckSignatureFrom(issuer)
		}
		if err != nil {
			f.Level, f.Seen = Fail, fmt.Sprintf("%s: the chain is broken: %v", certFile, err)
			f.Hint = "the file is to hold the device's certificate, then the one that signed it, and so on"
			return f
		}
		if issuer.NotAfter.Before(first.NotAfter) {
			first = issuer
		}
		issued = issuer
	}
	f = m.validity(f, first)
	if name := pair.Leaf.Subject.CommonName; f.Level != Fail && name != device {
		f.Level = Warn
		f.Seen += fmt.Sprintf(", common name %q", name)
		f.Hint = fmt.Sprintf("a broker that takes the user from the certificate lets it only use the topics of that name: have one made for %q", device)
	}
	return f
}

// validity reports when a certificate is valid.
func (m *Machine) validity(f Finding, c *x509.Certificate) Finding {
	now := m.Now()
	f.Seen += ", valid until " + c.NotAfter.UTC().Format(time.DateOnly)
	switch left := c.NotAfter.Sub(now); {
	case now.Before(c.NotBefore):
		f.Level, f.Seen = Fail, f.Seen+", and not before "+c.NotBefore.UTC().Format(time.DateOnly)
		f.Hint = "is the clock right? See the line clock"
	case left < 0:
		f.Level, f.Seen, f.Hint = Fail, f.Seen+": it has expired", "have it renewed"
	case left < soon:
		f.Level, f.Seen = Warn, fmt.Sprintf("%s, %d days", f.Seen, int(left/(24*time.Hour)))
		f.Hint = "have it renewed; the agent takes the new file at its next connection"
	}
	return f
}

func (m *Machine) unreadable(f Finding, err error) Finding {
	f.Level, f.Seen = Fail, err.Error()
	switch {
	case errors.Is(err, fs.ErrPermission):
		f.Hint = fmt.Sprintf("let the agent's user read it; if that is %s: sudo chown %[1]s FILE, sudo chmod 400 FILE", m.User())
	case errors.Is(err, fs.ErrNotExist):
		f.Hint = "put it there, or correct mqtt.tls"
	}
	return f
}
