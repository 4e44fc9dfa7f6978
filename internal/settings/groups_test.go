package settings_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/settings"
)

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLSClient(t *testing.T) {
	dir := t.TempDir()
	group := settings.TLS{
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), ServerName: "broker",
	}
	certificate(t, group.CAFile, filepath.Join(dir, "unused.pem"), "authority")
	certificate(t, group.CertFile, group.KeyFile, "first")
	config, err := group.Client()
	if err != nil {
		t.Fatal(err)
	}
	if config.ServerName != "broker" || config.MinVersion != tls.VersionTLS12 || config.RootCAs == nil || config.InsecureSkipVerify {
		t.Errorf("got %+v", config)
	}
	certificate(t, group.CertFile, group.KeyFile, "renewed")
	pair, err := config.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Subject.CommonName != "renewed" {
		t.Errorf("got the certificate of %s, want the renewed one", leaf.Subject.CommonName)
	}
}

func TestTLSClientErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for name, group := range map[string]settings.TLS{
		"no authorities": {CAFile: text}, "authorities absent": {CAFile: none}, "certificate absent": {CertFile: none, KeyFile: text},
	} {
		if _, err := group.Client(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	config, err := settings.TLS{}.Client()
	if err != nil || config.RootCAs != nil || config.GetClientCertificate != nil {
		t.Errorf("nothing set: got %+v, %v", config, err)
	}
}

func TestTLSValidate(t *testing.T) {
	for group, want := range map[settings.TLS]string{
		{}:                              "",
		{CAFile: "a"}:                   "",
		{CertFile: "a", KeyFile: "b"}:   "",
		{CertFile: "a"}:                 "key_file: the private key that belongs to cert_file",
		{KeyFile: "b", ServerName: "c"}: "cert_file: the certificate that belongs to key_file",
	} {
		got := ""
		group.Validate(func(path, _, want string) { got += path + ": " + want })
		if got != want {
			t.Errorf("%+v: got %q, want %q", group, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	type verdict struct{ HostPort, Listen bool }
	for address, want := range map[string]verdict{
		"kafka:9092": {true, true}, "[::1]:1": {true, true}, "1.2.3.4:65535": {true, true},
		":9464": {false, true}, "127.0.0.1:0": {false, true}, ":0": {false, true},
		"": {}, "kafka": {}, "kafka:": {}, "kafka:http": {}, "kafka:65536": {}, "::1:5": {}, "kafka:-1": {},
	} {
		got := verdict{settings.IsHostPort(address), settings.IsListen(address)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", address, diff)
		}
	}
}
