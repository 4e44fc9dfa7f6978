//go:build integration

// Package pki has the tests of the script pki, which need openssl.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lasts reports whether a certificate is valid for that many days from now.
func lasts(c *x509.Certificate, days int) bool {
	return c.NotBefore.Before(time.Now().Add(-50*time.Minute)) && endsIn(c.NotAfter, days)
}

// endsIn reports whether an end is in that many days, but for the time that has
// passed since it was set.
func endsIn(end time.Time, days int) bool {
	return time.Until(end.AddDate(0, 0, -days)).Abs() < 10*time.Minute
}

func TestContents(t *testing.T) {
	f := newFolder(t)
	f.pki("ca")
	f.pki("server", "broker.example", "localhost", "10.1.2.3", "::1", "*.inner.example", "localhost")
	f.pki("device", "greenhouse-7")
	f.pki("client", "telltale-ingest", "--days", "90")
	longest := strings.Repeat("_-aZ0", 13)[:64]
	f.pki("device", "--", longest)
	f.pki("device", "--", "-x")

	ca := f.authority()
	if name := ca.Subject.String(); name != "CN=telltale CA,O=telltale" || !ca.IsCA || !ca.MaxPathLenZero || ca.MaxPathLen != 0 || !lasts(ca, 3650) ||
		ca.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || ca.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Errorf("the authority is %s: %+v", name, ca)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, test := range []struct {
		name, subject string
		usage         x509.ExtKeyUsage
		days          int
		dns           []string
		addresses     []net.IP
	}{
		{"server/broker.example", "CN=broker.example,OU=server,O=telltale", x509.ExtKeyUsageServerAuth, 365,
			[]string{"broker.example", "localhost", "*.inner.example"}, []net.IP{net.IPv4(10, 1, 2, 3).To4(), net.IPv6loopback}},
		{"device/greenhouse-7", "CN=greenhouse-7,OU=device,O=telltale", x509.ExtKeyUsageClientAuth, 365, nil, nil},
		{"client/telltale-ingest", "CN=telltale-ingest,OU=client,O=telltale", x509.ExtKeyUsageClientAuth, 90, nil, nil},
		{"device/" + longest, "CN=" + longest + ",OU=device,O=telltale", x509.ExtKeyUsageClientAuth, 365, nil, nil},
		{"device/-x", "CN=-x,OU=device,O=telltale", x509.ExtKeyUsageClientAuth, 365, nil, nil},
	} {
		c := f.certificate(test.name)
		if c.Subject.String() != test.subject || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{test.usage}) || !lasts(c, test.days) {
			t.Errorf("%s is %s, %v, from %s to %s", test.name, c.Subject, c.ExtKeyUsage, c.NotBefore, c.NotAfter)
		}
		if !slices.Equal(c.DNSNames, test.dns) || !slices.EqualFunc(c.IPAddresses, test.addresses, net.IP.Equal) {
			t.Errorf("%s is of %v and %v", test.name, c.DNSNames, c.IPAddresses)
		}
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() || c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature || c.SerialNumber.BitLen() < 100 {
			t.Errorf("%s is %+v", test.name, c)
		}
		for _, extension := range c.Extensions {
			critical := extension.Id.Equal([]int{2, 5, 29, 19}) || extension.Id.Equal([]int{2, 5, 29, 15}) // basicConstraints, keyUsage
			if extension.Critical != critical {
				t.Errorf("%s: critical is %v of %v", test.name, extension.Critical, extension.Id)
			}
		}
		for usage, purpose := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "sslserver", x509.ExtKeyUsageClientAuth: "sslclient"} {
			_, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
			said := f.verify(test.name+".crt", purpose)
			if ok := usage == test.usage; ok != (err == nil) || ok != strings.HasSuffix(said, ".crt: OK\n") {
				t.Errorf("%s as %s: %v, %s", test.name, purpose, err, said)
			}
		}
	}
	if len(f.revoked()) != 0 || !endsIn(f.crl().NextUpdate, 365) {
		t.Errorf("the revocation list is %+v", f.crl())
	}

	t.Log("who may read what")
	err := filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		switch name := filepath.Base(path); {
		case name == "private":
			want = 0o700
		case entry.IsDir():
			want = 0o755
		case strings.HasSuffix(name, ".key"), name == "index.txt", name == "crlnumber", name == "lock":
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFolder(t)
	f.refuses(1, "there is no authority", "device", "pi-1")
	f.refuses(1, "there is no authority", "list")
	f.refuses(1, "there is no authority", "check")
	f.refuses(2, "want 1 to 64 letters, digits, spaces", "ca", "a/b")
	f.pki("ca", "--days", "100")
	f.pki("server", "localhost", "--days", "9")
	f.pki("device", "pi-1", "--days", "9")
	f.pki("client", "telltale-ingest", "--days", "9")
	torn, quoted := filepath.Join(t.TempDir(), "torn"), filepath.Join(t.TempDir(), `a"`)
	for file, content := range map[string][]byte{torn: bytes.Replace(f.read("ca.crl"), []byte("\nM"), []byte("\nx"), 1), quoted: f.read("ca.crl")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		code    int
		message string
		args    []string
	}{
		{1, "ca.crt is there already", []string{"ca"}},
		{1, "device pi-1 is there already: want pki renew", []string{"device", "pi-1"}},
		{1, "server localhost is there already", []string{"server", "localhost"}},
		{1, "client pi-1: there is a device of that name", []string{"client", "pi-1"}},
		{2, "device telltale-ingest: want a name that does not begin with telltale-", []string{"device", "telltale-ingest"}},
		{2, "device telltale-x: want a name that does not", []string{"device", "telltale-x"}},
		{2, "device a.b: want 1 to 64 letters, digits, _ or -", []string{"device", "a.b"}},
		{2, "device a/b: want 1 to 64", []string{"device", "a/b"}},
		{2, "device ../x: want 1 to 64", []string{"device", "../x"}},
		{2, "device +: want 1 to 64", []string{"device", "+"}},
		{2, "device é: want 1 to 64", []string{"device", "é"}},
		{2, "device a\nb: want 1 to 64", []string{"device", "a\nb"}},
		{2, "device : want 1 to 64", []string{"device", ""}},
		{2, "want 1 to 64", []string{"device", strings.Repeat("a", 65)}},
		{2, "device: want one name", []string{"device", "a", "b"}},
		{2, "device: want one name", []string{"device"}},
		{2, "server a b: want a DNS name or an IP address", []string{"server", "a b"}},
		{2, "server 1.2.3.400: want a DNS name", []string{"server", "ok.example", "1.2.3.400"}},
		{2, "server a,IP:1.2.3.4: want a DNS name", []string{"server", "ok.example", "a,IP:1.2.3.4"}},
		{2, "server -a: want a DNS name", []string{"server", "--", "-a"}},
		{2, "want at most 64 characters", []string{"server", strings.Repeat("a", 60) + ".example"}},
		{1, "device pi-2: it would end on", []string{"device", "pi-2"}}, // the authority ends in 100 days
		{2, "--days: 0: want 1 to 9999", []string{"device", "pi-2", "--days", "0"}},
		{2, "--days: 1x: want 1 to 9999", []string{"device", "pi-2", "--days", "1x"}},
		{2, "tomorrow: want YYYYMMDDHHMMSSZ", []string{"device", "pi-2", "--end", "tomorrow"}},
		{2, "want a time after the start", []string{"device", "pi-2", "--start", "20250101000000Z", "--end", "20240101000000Z"}},
		{2, "--end: want a value", []string{"device", "pi-2", "--end"}},
		{2, "--csr: /nonexistent", []string{"device", "pi-2", "--days", "9", "--csr", "/nonexistent"}},
		{2, "--csr: not of server", []string{"server", "b.example", "--csr", "/nonexistent"}},
		{2, "--superseded: not of renew", []string{"renew", "device", "pi-1", "--superseded"}},
		{2, "--frobnicate: want an option", []string{"device", "pi-2", "--frobnicate"}},
		{2, "frobnicate: want a command", []string{"frobnicate"}},
		{2, "usage: pki", nil},
		{1, "device pi-9: there is none: want pki device pi-9", []string{"renew", "device", "pi-9"}},
		{2, "revoke ca: want server, device or client", []string{"revoke", "ca", "telltale CA"}},
		{2, "--passphrase-file: /nonexistent: want a file", []string{"crl", "--passphrase-file", "/nonexistent"}},
		{2, "--metrics: not of list", []string{"list", "--metrics"}},
		{2, "check --metrics: want the files", []string{"check", "--metrics"}},
		{2, "want a name without", []string{"check", "--metrics", quoted}},
		{1, "/nonexistent: want a file that can be read", []string{"check", "/nonexistent"}},
		{1, "ca.key: want a certificate or a revocation list in PEM form", []string{"check", filepath.Join(f.dir, "private/ca.key")}},
		{1, "torn: want certificates and revocation lists in PEM form", []string{"check", torn}},
	} {
		f.refuses(test.code, test.message, test.args...)
	}
	if err := os.Rename(filepath.Join(f.dir, "private/ca.key"), filepath.Join(t.TempDir(), "offline")); err != nil {
		t.Fatal(err)
	}
	f.refuses(1, "the authority's key is not here", "renew", "device", "pi-1", "--days", "9")
	f.pki("list")
	f.pki("check", "--days", "8")
}

func TestRenewAndRevoke(t *testing.T) {
	f := newFolder(t)
	f.pki("ca", "another CA")
	f.pki("server", "localhost", "10.1.2.3", "::1")
	f.pki("device", "pi-1")
	f.pki("device", "pi-2", "--days", "29")
	f.pki("device", "pi-3", "--start", "20240101000000Z", "--end", "20240201000000Z")

	first := f.certificate("device/pi-1")
	f.pki("renew", "device", "pi-1")
	second := f.certificate("device/pi-1")
	if first.Subject.String() != second.Subject.String() || first.SerialNumber.Cmp(second.SerialNumber) == 0 || bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Errorf("renewed is %s %s", second.Subject, second.SerialNumber)
	}
	if n := len(f.revoked()); n != 0 {
		t.Errorf("renewing revoked %d", n)
	}
	want := []row{
		{"ca", "another CA", "valid"}, {"crl", "ca.crl", "valid"},
		{"device", "pi-1", "superseded"}, {"device", "pi-1", "valid"}, {"device", "pi-2", "valid, ends within 30 days"}, {"device", "pi-3", "expired"},
		{"server", "localhost", "valid"},
	}
	rows := f.list()
	// The two of one minute are in no order.
	slices.SortFunc(rows[2:4], func(a, b row) int { return strings.Compare(a.state, b.state) })
	if diff := cmp.Diff(want, rows, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	f.pki("revoke", "device", "pi-1", "--superseded")
	const superseded = 4 // RFC 5280, 5.3.1
	if diff := cmp.Diff(map[string]int{first.SerialNumber.String(): superseded}, f.revoked()); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	if said := f.verify("device/pi-1.crt", "sslclient"); !strings.HasSuffix(said, ": OK\n") {
		t.Error(said)
	}
	number := f.crl().Number
	if out := f.pki("revoke", "device", "pi-1"); !strings.Contains(out, "serial "+serial(second)+": revoked") {
		t.Error(out)
	}
	if diff := cmp.Diff(map[string]int{first.SerialNumber.String(): superseded, second.SerialNumber.String(): 0}, f.revoked()); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	if said := f.verify("device/pi-1.crt", "sslclient"); !strings.Contains(said, "certificate revoked") {
		t.Error(said)
	}
	if f.crl().Number.Cmp(number) <= 0 {
		t.Errorf("the list has the number %s after %s", f.crl().Number, number)
	}
	if out := f.pki("revoke", "device", "pi-1"); !strings.Contains(out, "none to revoke") || len(f.revoked()) != 2 {
		t.Error(out)
	}
	f.pki("renew", "device", "pi-1")
	if said := f.verify("device/pi-1.crt", "sslclient"); !strings.HasSuffix(said, ": OK\n") {
		t.Error(said)
	}
	f.refuses(1, "device pi-1 is there already", "device", "pi-1")

	t.Log("a server keeps its names, or gets others")
	f.pki("renew", "server", "localhost")
	c := f.certificate("server/localhost")
	if fmt.Sprint(c.DNSNames, c.IPAddresses) != "[localhost] [10.1.2.3 ::1]" {
		t.Errorf("it is of %v and %v", c.DNSNames, c.IPAddresses)
	}
	f.pki("renew", "server", "localhost", "broker.example")
	c = f.certificate("server/localhost")
	if fmt.Sprint(c.DNSNames, c.IPAddresses) != "[localhost broker.example] []" {
		t.Errorf("it is of %v and %v", c.DNSNames, c.IPAddresses)
	}

	f.pki("crl", "--days", "9")
	if !endsIn(f.crl().NextUpdate, 9) || len(f.revoked()) != 2 {
		t.Errorf("the list is %+v", f.crl())
	}
	if rows := f.list(); !slices.Contains(rows, row{"crl", "ca.crl", "valid, ends within 30 days"}) {
		t.Errorf("list: %v", rows)
	}
}

// TestCheck: what ends soon is told by lines and exit code, of the folder and of a
// server's own files, and by metrics.
func TestCheck(t *testing.T) {
	f := newFolder(t)
	f.pki("ca")
	f.pki("server", "localhost", "--days", "40")
	f.pki("device", "pi-1", "--days", "20")
	f.pki("device", "pi-2", "--end", "20240201000000Z", "--start", "20240101000000Z")
	f.pki("device", "pi-3", "--days", "10")
	f.pki("revoke", "device", "pi-3")
	f.pki("device", "pi-4", "--days", "10")
	f.pki("renew", "device", "pi-4")
	list := filepath.Join(f.dir, "ca.crl")
	// says runs a check that must end with that code, and say of each of the files
	// that it ends, or has.
	says := func(code int, want []string, args ...string) {
		t.Helper()
		command := f.command(append([]string{"check"}, args...)...)
		out, _ := command.CombinedOutput()
		var got []string
		for line := range strings.Lines(strings.ReplaceAll(string(out), f.dir+"/", "")) {
			line = strings.TrimSpace(line)
			got = append(got, strings.TrimSpace(line[:max(0, len(line)-len("2006-01-02 15:04"))]))
		}
		if diff := cmp.Diff(want, got); diff != "" || command.ProcessState.ExitCode() != code {
			t.Errorf("check %s: exit code %d, want %d (-want +got):\n%s", args, command.ProcessState.ExitCode(), code, diff)
		}
	}
	says(1, []string{"device/pi-1.crt ends on", "device/pi-2.crt has ended on"})
	says(1, []string{"device/pi-2.crt has ended on"}, "--days", "19")
	says(1, []string{"server/localhost.crt ends on", "device/pi-1.crt ends on", "device/pi-2.crt has ended on"}, "--days", "41")
	f.pki("revoke", "device", "pi-2")
	says(0, nil, "--days", "19")

	f.pki("crl", "--days", "12")
	says(1, []string{"ca.crl ends on"}, "--days", "13")
	says(0, nil, "--days", "11")

	t.Log("a host without the folder")
	together := filepath.Join(t.TempDir(), "together")
	if err := os.WriteFile(together, slices.Concat(f.read("server/localhost.key"), f.read("server/localhost.crt"), f.read("ca.crl")), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := newFolder(t)
	out, err := elsewhere.command("check", list, together, filepath.Join(f.dir, "ca.crt")).CombinedOutput()
	end := f.crl().NextUpdate.UTC().Format("2006-01-02 15:04")
	if want := list + " ends on " + end + "\n" + together + " ends on " + end + "\n"; err == nil || string(out) != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	if _, err := os.Stat(elsewhere.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a check of files made a folder: %v", err)
	}
	got := elsewhere.pki("check", "--metrics", list, together, filepath.Join(f.dir, "server/localhost.crt"))
	want := fmt.Sprintf(`# HELP telltale_certificate_expiry_timestamp_seconds Unix time at which the first certificate or revocation list in a file ends.
# TYPE telltale_certificate_expiry_timestamp_seconds gauge
telltale_certificate_expiry_timestamp_seconds{use="%s"} %d
telltale_certificate_expiry_timestamp_seconds{use="%s"} %d
telltale_certificate_expiry_timestamp_seconds{use="%s"} %d
`, list, f.crl().NextUpdate.Unix(), together, f.crl().NextUpdate.Unix(), filepath.Join(f.dir, "server/localhost.crt"), f.certificate("server/localhost").NotAfter.Unix())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestRequest signs a key that stays on its device.
func TestRequest(t *testing.T) {
	f := newFolder(t)
	f.pki("ca")
	request := func(key any, dns ...string) string {
		// The units are what openssl says of a request that is right.
		subject := pkix.Name{CommonName: "telltale-ingest", OrganizationalUnit: []string{"verify OK", "ASN1 OID: prime256v1"}}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: dns}, key)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "csr")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// signed returns the certificate, which has no key here.
	signed := func() *x509.Certificate {
		t.Helper()
		if _, err := os.Stat(filepath.Join(f.dir, "device/pi-1.key")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the key: %v", err)
		}
		block, _ := pem.Decode(f.read("device/pi-1.crt"))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.pki("device", "pi-1", "--csr", request(key, "elsewhere.example"))
	c := signed()
	if !key.PublicKey.Equal(c.PublicKey) || c.Subject.String() != "CN=pi-1,OU=device,O=telltale" || len(c.DNSNames) != 0 || c.IsCA {
		t.Errorf("of the request more was taken than the key: %+v", c)
	}
	f.pki("renew", "device", "pi-1")
	if next := signed(); !key.PublicKey.Equal(next.PublicKey) || next.SerialNumber.Cmp(c.SerialNumber) == 0 {
		t.Errorf("renewed is %+v", next)
	}
	f.pki("revoke", "device", "pi-1")
	f.refuses(1, "its key is not here: want --csr", "renew", "device", "pi-1")

	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f.refuses(2, "of the curve P-256", "renew", "device", "pi-1", "--csr", request(weak))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := request(other)
	forged, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(forged)
	block.Bytes[len(block.Bytes)-1] ^= 1 // of the signature, which shows that the key is there
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	f.refuses(2, "that its own key signed", "renew", "device", "pi-1", "--csr", file)
	f.pki("renew", "device", "pi-1", "--csr", request(other))
	if c := signed(); !other.PublicKey.Equal(c.PublicKey) {
		t.Errorf("renewed is %+v", c)
	}

	t.Log("a device whose key was made here gets one of its own")
	f.pki("device", "pi-2")
	f.pki("renew", "device", "pi-2", "--csr", request(key))
	if _, err := os.Stat(filepath.Join(f.dir, "device/pi-2.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old key: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	f := newFolder(t)
	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.pki("ca", "--passphrase-file", file)
	if key := f.read("private/ca.key"); !bytes.HasPrefix(key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) {
		t.Errorf("the key is %.40s", key)
	}
	f.pki("device", "pi-1", "--passphrase-file", file)
	f.pki("revoke", "device", "pi-1", "--passphrase-file", file)
	f.pki("list")
	f.certificate("device/pi-1") // not encrypted
	if err := os.WriteFile(file, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.refuses(1, "openssl ca failed", "device", "pi-2", "--passphrase-file", file)
}

// TestInterrupted kills the script at moments of all kinds. After the next
// command every key is its certificate's, every certificate in use can be revoked,
// and what was revoked stays so.
func TestInterrupted(t *testing.T) {
	f := newFolder(t)
	f.pki("ca")
	f.pki("device", "gone")
	f.pki("revoke", "device", "gone")
	f.pki("device", "pi-1")
	begin := time.Now()
	f.pki("renew", "device", "pi-1")
	whole := time.Since(begin)
	const cuts = 16
	made := 0
	for i := range cuts {
		before := f.certificate("device/pi-1")
		command := f.command("renew", "device", "pi-1")
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(whole * time.Duration(i+1) / cuts)
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = command.Wait()
		f.pki("list")
		c := f.certificate("device/pi-1")
		if c.SerialNumber.Cmp(before.SerialNumber) != 0 {
			made++
		}
		if index := string(f.read("index.txt")); !strings.Contains(index, "\t"+serial(c)+"\t") {
			t.Errorf("cut %d: the certificate %s is not in the index:\n%s", i, serial(c), index)
		}
		if leftovers, _ := filepath.Glob(filepath.Join(f.dir, ".work.*")); len(leftovers) > 0 {
			t.Errorf("cut %d: left are %v", i, leftovers)
		}
		if len(f.revoked()) != 1 {
			t.Errorf("cut %d: revoked are %v", i, f.revoked())
		}
	}
	t.Logf("%d of %d came to an end", made, cuts)
	f.pki("revoke", "device", "pi-1")
	if said := f.verify("device/pi-1.crt", "sslclient"); !strings.Contains(said, "certificate revoked") {
		t.Error(said)
	}
	for _, r := range f.list() {
		if r.kind == "device" && r.state != "revoked" {
			t.Errorf("list has %v", r)
		}
	}
}

// TestAtOnce runs commands at the same time.
func TestAtOnce(t *testing.T) {
	f := newFolder(t)
	f.pki("ca")
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			if out, err := f.command("device", fmt.Sprintf("pi-%d", i)).CombinedOutput(); err != nil {
				t.Errorf("pi-%d: %v\n%s", i, err, out)
			}
		})
	}
	all.Wait()
	serials := make(map[string]*big.Int)
	for i := range 6 {
		c := f.certificate(fmt.Sprintf("device/pi-%d", i))
		serials[c.SerialNumber.String()] = c.SerialNumber
	}
	if rows := f.list(); len(serials) != 6 || len(rows) != 8 {
		t.Errorf("%d serials; list has %v", len(serials), rows)
	}
}

// TestReadme runs the commands of README.md in their order.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(root, "deploy"), filepath.Join(dir, "deploy")); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for block := range strings.SplitSeq(string(text), "```sh\n") {
		commands, _, ok := strings.Cut(block, "```")
		if !ok || strings.HasPrefix(block, "#") {
			continue
		}
		for line := range strings.Lines(commands) {
			command := exec.Command("sh", "-c", line)
			command.Dir = dir
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%s%v\n%s", line, err, out)
			}
			ran++
		}
	}
	f := folder{t, filepath.Join(dir, "pki")}
	want := []row{
		{"ca", "telltale CA", "valid"}, {"client", "telltale-ingest", "valid"}, {"crl", "ca.crl", "valid"},
		{"device", "greenhouse-7", "revoked"}, {"device", "greenhouse-7", "revoked"}, {"device", "greenhouse-8", "valid"}, {"server", "broker.example", "valid"},
	}
	if diff := cmp.Diff(want, f.list(), cmp.AllowUnexported(row{})); diff != "" || ran != 10 {
		t.Errorf("%d commands; list (-want +got):\n%s", ran, diff)
	}
}
