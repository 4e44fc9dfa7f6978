package diagnose

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/certificate"
)

// soon is how long before a certificate's end one is warned of it.
const soon = 30 * 24 * time.Hour

// TLS reports the files of the connection to the broker. device is what the broker
// should find in the certificate.
func (m *Machine) TLS(c *config.MQTT, device string) []Finding {
	if !strings.HasPrefix(c.URL, "tls://") {
		return []Finding{{OK, "tls", "not used, as mqtt.url begins with tcp://", ""}}
	}
	authorities := Finding{OK, "tls authorities", "those of this machine", ""}
	if c.TLS.CAFile != "" {
		authorities = m.authorities(authorities.Check, "mqtt.tls", "ca_file", c.TLS.CAFile)
	}
	certificate := Finding{OK, "tls certificate", "none: the user's name and password tell the broker who this is", ""}
	if c.TLS.CertFile != "" {
		var name string
		certificate, name = m.certificate(certificate.Check, "mqtt.tls", c.TLS.CertFile, c.TLS.KeyFile)
		if certificate.Level != Fail && name != device {
			certificate.Level = Warn
			certificate.Seen += fmt.Sprintf(", common name %q", name)
			certificate.Hint = fmt.Sprintf("a broker that takes the user from the certificate lets it only use the topics of that name: have one made for %q", device)
		}
	}
	return []Finding{authorities, certificate}
}

// Endpoint reports the files of the agent's own endpoint, nothing if it has none.
func (m *Machine) Endpoint(c *config.Metrics) (found []Finding) {
	if c.Listen == "" || c.TLS.CertFile == "" {
		return nil
	}
	certificate, _ := m.certificate("metrics certificate", "metrics.tls", c.TLS.CertFile, c.TLS.KeyFile)
	found = append(found, certificate)
	if c.TLS.ClientCAFile != "" {
		found = append(found, m.authorities("metrics authorities", "metrics.tls", "client_ca_file", c.TLS.ClientCAFile))
	}
	return found
}

// authorities reports those in the file that a setting of a group names.
func (m *Machine) authorities(check, group, setting, file string) Finding {
	f := Finding{Level: OK, Check: check, Seen: file}
	data, err := os.ReadFile(file)
	if err != nil {
		return m.unreadable(f, group, err)
	}
	chain, err := certificate.Parse(data)
	if err != nil {
		f.Level, f.Seen, f.Hint = Fail, fmt.Sprintf("%s: %v", file, err), group+"."+setting+" is to hold certificates in PEM form"
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

// certificate reports a certificate and its key, which a group of settings names,
// and returns the certificate's common name.
func (m *Machine) certificate(check, group, certFile, keyFile string) (f Finding, name string) {
	f = Finding{Level: OK, Check: check, Seen: certFile}
	for _, file := range []string{certFile, keyFile} {
		if _, err := os.ReadFile(file); err != nil {
			return m.unreadable(f, group, err), ""
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		f.Level, f.Seen = Fail, fmt.Sprintf("%s, %s: %v", certFile, keyFile, err)
		f.Hint = group + ".cert_file and key_file are to hold a certificate and the key that belongs to it, in PEM form"
		return f, ""
	}
	first := pair.Leaf
	for issued := pair.Leaf; len(pair.Certificate) > 1; pair.Certificate = pair.Certificate[1:] {
		issuer, err := x509.ParseCertificate(pair.Certificate[1])
		if err == nil {
			err = issued.CheckSignatureFrom(issuer)
		}
		if err != nil {
			f.Level, f.Seen = Fail, fmt.Sprintf("%s: the chain is broken: %v", certFile, err)
			f.Hint = "the file is to hold the certificate itself, then the one that signed it, and so on"
			return f, ""
		}
		if issuer.NotAfter.Before(first.NotAfter) {
			first = issuer
		}
		issued = issuer
	}
	return m.validity(f, first), pair.Leaf.Subject.CommonName
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

func (m *Machine) unreadable(f Finding, group string, err error) Finding {
	f.Level, f.Seen = Fail, err.Error()
	switch {
	case errors.Is(err, fs.ErrPermission):
		f.Hint = fmt.Sprintf("let the agent's user read it; if that is %s: sudo chown %[1]s FILE, sudo chmod 400 FILE", m.User())
	case errors.Is(err, fs.ErrNotExist):
		f.Hint = "put it there, or correct " + group
	}
	return f
}
