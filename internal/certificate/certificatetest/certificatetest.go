// Package certificatetest issues certificates for tests.
package certificatetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// Issued is a certificate with its key; one that is an authority can issue others.
type Issued struct {
	*x509.Certificate
	Key *ecdsa.PrivateKey
}

// Authority returns a certificate that signs others and itself.
func Authority(t testing.TB, end time.Time) *Issued {
	t.Helper()
	return issue(t, "test authority", end, nil)
}

// Issue returns a certificate for a server or a client of that name, which may be an
// IP address.
func (i *Issued) Issue(t testing.TB, name string, end time.Time) *Issued {
	t.Helper()
	return issue(t, name, end, i)
}

func issue(t testing.TB, name string, end time.Time, by *Issued) *Issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: end.Add(-10 * 365 * 24 * time.Hour), NotAfter: end,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent := &Issued{template, key}
	if by == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent = by
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = []net.IP{ip}
		} else {
			template.DNSNames = []string{name}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, &key.PublicKey, parent.Key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &Issued{certificate, key}
}

// PEM returns the certificate, and the others behind it.
func (i *Issued) PEM(others ...*Issued) (data []byte) {
	for _, c := range append([]*Issued{i}, others...) {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return data
}

// KeyPEM returns the key.
func (i *Issued) KeyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Pool returns a pool of this authority.
func (i *Issued) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.Certificate)
	return pool
}

// TLS returns the pair as crypto/tls takes it.
func (i *Issued) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.Raw}, PrivateKey: i.Key, Leaf: i.Certificate}
}

// Write writes a file that nobody else may read.
func Write(t testing.TB, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(name, data, 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
