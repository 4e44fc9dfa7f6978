package endpoint

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/telltale-iot/telltale/internal/certificate"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Config is all that an endpoint can be told. It is comparable.
type Config struct {
	Listen string // HOST:PORT; HOST may be empty
	TLS    TLS
	Auth   Auth
}

// TLS is the group of settings of the endpoint's TLS. The zero TLS is none.
type TLS struct {
	CertFile     string `yaml:"cert_file" help:"PEM file of the endpoint's certificate, and of those between it and its authority (empty: no TLS)"`
	KeyFile      string `yaml:"key_file" help:"PEM file of that certificate's private key"`
	ClientCAFile string `yaml:"client_ca_file" help:"PEM file of the authorities of client certificates, one of which /metrics then demands (empty: none is demanded)"`
}

// Certificates returns the files whose ends are to be told.
func (t TLS) Certificates() []certificate.File {
	return []certificate.File{
		{Use: "metrics_server", Name: t.CertFile},
		{Use: "metrics_client_ca", Name: t.ClientCAFile, Authorities: true},
	}
}

// Auth is the group of settings of who may read /metrics: a user with a
// password, or whoever has a token. If both are given, either will do. The zero
// Auth is everybody.
type Auth struct {
	Username     string          `yaml:"username" help:"user of basic authentication (empty: none)"`
	PasswordHash settings.Secret `yaml:"password_hash" help:"bcrypt hash of the user's password, such as $2y$10$..."`
	BearerToken  settings.Secret `yaml:"bearer_token" help:"token of bearer authentication, at least 16 characters"`
}

// Validate reports a certificate without its key, and what is of no use without
// a certificate.
func (t TLS) Validate(report func(path, value, want string)) {
	switch {
	case t.CertFile == "" && t.KeyFile != "":
		report("cert_file", "", "the certificate that belongs to key_file")
	case t.CertFile != "" && t.KeyFile == "":
		report("key_file", "", "the private key that belongs to cert_file")
	case t.CertFile == "" && t.ClientCAFile != "":
		report("cert_file", "", "the endpoint's own certificate, without which it cannot ask for a client's")
	}
}

const (
	// maxCost bounds what it takes to refuse a wrong password: each step doubles
	// it, and the 14th takes a server's core about a second.
	maxCost = 14
	// minToken is the length of 64 random bits in hexadecimal.
	minToken = 16
)

// Validate reports a user without a password, a password without a user, and
// secrets of the wrong form.
func (a Auth) Validate(report func(path, value, want string)) {
	switch cost, err := bcrypt.Cost([]byte(a.PasswordHash.Reveal())); {
	case a.Username == "" && !a.PasswordHash.IsZero():
		report("username", "", "the user that the password belongs to")
	case a.Username != "" && a.PasswordHash.IsZero():
		report("password_hash_file", "", "the file that holds the bcrypt hash of the user's password")
	case strings.Contains(a.Username, ":"):
		report("username", "", "a user's name without a colon") // RFC 7617, 2
	case a.Username != "" && (err != nil || cost > maxCost):
		report("password_hash", "", fmt.Sprintf("a bcrypt hash ($2a$, $2b$ or $2y$) with a cost of at most %d, as htpasswd -nBC 10 makes one behind the user's name", maxCost))
	}
	if t := a.BearerToken.Reveal(); t != "" && (len(t) < minToken || strings.ContainsFunc(t, outsideToken)) {
		report("bearer_token", "", fmt.Sprintf("at least %d characters that a header may have (RFC 6750: letters, digits and -._~+/=)", minToken))
	}
}

func outsideToken(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=", r)
}

// open names what protects the endpoint on a network and is not configured.
func (c Config) open() (missing []string) {
	if c.TLS.CertFile == "" {
		missing = append(missing, "tls")
	}
	if c.Auth == (Auth{}) && c.TLS.ClientCAFile == "" {
		missing = append(missing, "authentication")
	}
	return missing
}

// loopback reports whether only this host can reach the address that is listened
// on. A name counts as one that others can reach, but for localhost.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
