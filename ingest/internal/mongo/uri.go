package mongo

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// clientOptions makes the driver's options of a connection string. Hosts,
// credentials, TLS and everything else pass through as they are, but for what
// our claims rest on.
func clientOptions(o *Options) (*options.ClientOptions, error) {
	c := options.Client().ApplyURI(o.URI)
	if err := c.Validate(); err != nil {
		if isAway(err) {
			return nil, fmt.Errorf("mongo: hosts of the connection string: %w", err)
		}
		return nil, errors.New("mongo: connection string: " + withoutSecrets(err.Error(), o.URI))
	}
	renewable(c, o.URI)
	concern := writeconcern.Majority()
	if asked := c.WriteConcern; asked != nil && asked.Journal != nil && *asked.Journal {
		concern.Journal = asked.Journal
	}
	return c.SetAppName("telltale-ingest").SetTimeout(operationTimeout).SetMonitor(o.Monitor).
		SetWriteConcern(concern).SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()), nil
}

// renewable has a client's certificate that the connection string names read anew
// for each connection; the driver reads it once.
func renewable(c *options.ClientOptions, uri string) {
	if c.TLSConfig == nil || len(c.TLSConfig.Certificates) == 0 {
		return
	}
	files := "mongodb://localhost/?tls=true"
	_, query, _ := strings.Cut(uri, "?")
	for option := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		key, _, _ := strings.Cut(strings.ToLower(option), "=")
		switch key {
		case "tlscertificatekeyfile", "sslclientcertificatekeyfile", "tlscertificatekeyfilepassword", "sslclientcertificatekeypassword", "tlscertificatefile", "tlsprivatekeyfile":
			files += "&" + option
		}
	}
	c.TLSConfig.Certificates = nil
	c.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		read := options.Client().ApplyURI(files)
		if err := read.Validate(); err != nil {
			return nil, errors.New("client certificate: " + withoutSecrets(err.Error(), files))
		}
		return &read.TLSConfig.Certificates[0], nil
	}
}

// isAway reports whether it was DNS that did not answer as it should, which may
// pass.
func isAway(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// withoutSecrets returns the driver's words about a connection string without
// what they quote of it, which may be of a password; the names of its options
// stay.
func withoutSecrets(message, uri string) string {
	_, query, _ := strings.Cut(strings.ToLower(uri), "?")
	return quoted.ReplaceAllStringFunc(message, func(quote string) string {
		name := strings.ToLower(strings.Trim(quote, `"`))
		if strings.Contains("&"+query, "&"+name+"=") {
			return quote
		}
		return `"…"`
	})
}
