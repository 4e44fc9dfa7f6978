package diagnose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"hash/crc32"
	"io/fs"
	"math/big"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
)

func castagnoli(p []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
}

const day = 24 * time.Hour

// issued is a certificate and its key.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate that is valid from and to days from today, signed by
// itself if there is no authority.
func issue(t *testing.T, name string, by *issued, from, to int) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: today.Add(time.Duration(from) * day), NotAfter: today.Add(time.Duration(to) * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent := &issued{template, key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, &key.PublicKey, parent.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{certificate, key}
}

func chain(certificates ...*issued) (data []byte) {
	for _, c := range certificates {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return data
}

func (i *issued) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestTLS(t *testing.T) {
	root := issue(t, "authority", nil, -100, 3650)
	old := issue(t, "authority", nil, -200, -1)
	middle := issue(t, "intermediate", root, -10, 20)
	leaf := issue(t, "pi-1", root, -10, 365)
	low := issue(t, "pi-1", middle, -10, 365)
	expired := issue(t, "pi-1", root, -9, -2)
	early := issue(t, "pi-1", root, 2, 9)
	other := issue(t, "pi-2", root, -9, 90)

	for _, tt := range []struct {
		name         string
		ca           []byte
		caLevel      Level
		caSeen       string
		cert         []byte
		key          []byte
		level        Level
		seen, hinted string
	}{
		{"all is well", chain(root), OK, `/ca, valid until 2036-11-23$`, chain(leaf), leaf.keyPEM(t), OK, `/cert, valid until 2027-11-26$`, `^$`},
		{"with its chain", chain(old, root), OK, `until 2036`, chain(leaf, root), leaf.keyPEM(t), OK, `until 2027`, `^$`},
		{"all authorities expired", chain(old), Fail, `2026-11-25: it has expired`, chain(leaf), leaf.keyPEM(t), OK, ``, ``},
		{"no authority at all", []byte("# none"), Fail, `no certificate in PEM form`, chain(leaf), leaf.keyPEM(t), OK, ``, ``},
		{"authority torn", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw[:99]}), Fail, `x509`, chain(leaf), leaf.keyPEM(t), OK, ``, ``},
		{"another key", chain(root), OK, ``, chain(leaf), low.keyPEM(t), Fail, `private key does not match`, `the key that belongs to it`},
		{"no key", chain(root), OK, ``, chain(leaf), []byte("?"), Fail, `failed to find any PEM data in key`, `PEM`},
		{"the chain's middle ends soon", chain(root), OK, ``, chain(low, middle, root), low.keyPEM(t), Warn, `until 2026-12-16, 20 days`, `renewed`},
		{"a chain in the wrong order", chain(root), OK, ``, chain(low, root, middle), low.keyPEM(t), Fail, `chain is broken`, `then the one that signed it`},
		{"expired", chain(root), OK, ``, chain(expired), expired.keyPEM(t), Fail, `2026-11-24: it has expired`, `renewed`},
		{"not yet", chain(root), OK, ``, chain(early), early.keyPEM(t), Fail, `and not before 2026-11-28`, `clock`},
		{"another's", chain(root), OK, ``, chain(other), other.keyPEM(t), Warn, `common name "pi-2"`, `"pi-1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c := config.MQTT{URL: "tls://broker:8883", TLS: settings.TLS{
				CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
			}}
			write(t, c.TLS.CAFile, tt.ca)
			write(t, c.TLS.CertFile, tt.cert)
			write(t, c.TLS.KeyFile, tt.key)
			found := machine().TLS(&c, "pi-1")
			if len(found) != 2 || found[0].Check != "tls authorities" || found[1].Check != "tls certificate" {
				t.Fatalf("got %+v", found)
			}
			want(t, found[0], tt.caLevel, tt.caSeen, ``)
			want(t, found[1], tt.level, tt.seen, tt.hinted)
		})
	}
}

func TestTLSFiles(t *testing.T) {
	m := machine()
	if found := m.TLS(&config.MQTT{URL: "tcp://broker:1883"}, "pi-1"); len(found) != 1 || found[0].Level != OK || found[0].Check != "tls" {
		t.Errorf("got %+v", found)
	}
	found := m.TLS(&config.MQTT{URL: "tls://broker:8883"}, "pi-1")
	want(t, found[0], OK, `^those of this machine$`, `^$`)
	want(t, found[1], OK, `^none: `, `^$`)

	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	found = m.TLS(&config.MQTT{URL: "tls://broker:8883", TLS: settings.TLS{CAFile: missing, CertFile: dir, KeyFile: missing}}, "pi-1")
	want(t, found[0], Fail, `missing: no such file`, `put it there`)
	want(t, found[1], Fail, `is a directory`, `^$`)
	want(t, m.unreadable(Finding{}, "mqtt.tls", &fs.PathError{Op: "open", Path: "key", Err: syscall.EACCES}), Fail, `permission denied`, `chown telltale`)
}

func TestEndpoint(t *testing.T) {
	m := machine()
	dir := t.TempDir()
	root, ended := issue(t, "authority", nil, -100, 3650), issue(t, "authority", nil, -100, -1)
	pair := issue(t, "127.0.0.1", root, -10, 9)
	c := config.Metrics{Listen: ":9465", TLS: endpoint.TLS{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"), ClientCAFile: filepath.Join(dir, "ca")}}
	write(t, c.TLS.CertFile, chain(pair, root))
	write(t, c.TLS.KeyFile, pair.keyPEM(t))
	write(t, c.TLS.ClientCAFile, chain(ended))
	found := m.Endpoint(&c)
	if len(found) != 2 || found[0].Check != "metrics certificate" || found[1].Check != "metrics authorities" {
		t.Fatalf("got %+v", found)
	}
	want(t, found[0], Warn, `/cert, valid until 2026-12-05, 9 days$`, `renewed`)
	want(t, found[1], Fail, `/ca, valid until 2026-11-25: it has expired`, `renewed`)
	write(t, c.TLS.ClientCAFile, []byte("none"))
	want(t, m.Endpoint(&c)[1], Fail, `no certificate in PEM form`, `^metrics\.tls\.client_ca_file is to hold`)
	c.TLS.KeyFile += ".not"
	want(t, m.Endpoint(&c)[0], Fail, `key\.not: no such file`, `correct metrics\.tls$`)
	c.TLS = endpoint.TLS{}
	if found := m.Endpoint(&c); len(found) != 0 {
		t.Errorf("without TLS: %+v", found)
	}
}
