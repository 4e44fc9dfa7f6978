//go:build integration

package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder is what --dir names.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder { return folder{t, filepath.Join(t.TempDir(), "pki")} }

func (f folder) command(args ...string) *exec.Cmd {
	command := exec.Command("./pki", append([]string{"--dir", f.dir}, args...)...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return command
}

// pki runs a command that must succeed, and returns what it says.
func (f folder) pki(args ...string) string {
	f.t.Helper()
	out, err := f.command(args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("pki %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// refuses runs a command that must fail with that code and message, and change
// nothing.
func (f folder) refuses(code int, message string, args ...string) {
	f.t.Helper()
	before := f.state()
	out, err := f.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(string(out), message) {
		f.t.Errorf("pki %s: %v, want code %d and %q\n%s", strings.Join(args, " "), err, code, message, out)
	}
	if diff := cmp.Diff(before, f.state()); diff != "" {
		f.t.Errorf("pki %s changed:\n%s", strings.Join(args, " "), diff)
	}
}

// state returns the content of all files.
func (f folder) state() map[string]string {
	f.t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, f.dir+"/")] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return files
}

func (f folder) read(name string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// certificate returns one of the files NAME.crt, whose key must be in NAME.key.
func (f folder) certificate(name string) *x509.Certificate {
	f.t.Helper()
	pair, err := tls.X509KeyPair(f.read(name+".crt"), f.read(name+".key"))
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return pair.Leaf
}

func (f folder) authority() *x509.Certificate {
	f.t.Helper()
	block, rest := pem.Decode(f.read("ca.crt"))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		f.t.Fatalf("ca.crt is\n%s", f.read("ca.crt"))
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// crl returns the revocation list, which must be the authority's.
func (f folder) crl() *x509.RevocationList {
	f.t.Helper()
	block, _ := pem.Decode(f.read("ca.crl"))
	if block == nil {
		f.t.Fatalf("ca.crl is\n%s", f.read("ca.crl"))
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(f.authority()); err != nil {
		f.t.Fatal(err)
	}
	return list
}

// revoked returns the reasons of all serials on the list.
func (f folder) revoked() map[string]int {
	f.t.Helper()
	serials := make(map[string]int)
	for _, entry := range f.crl().RevokedCertificateEntries {
		serials[entry.SerialNumber.String()] = entry.ReasonCode
	}
	return serials
}

// verify reports what openssl, which Mosquitto uses, says of a certificate for a
// purpose.
func (f folder) verify(name, purpose string) string {
	f.t.Helper()
	out, _ := exec.Command("openssl", "verify", "-x509_strict", "-crl_check", "-purpose", purpose, "-CAfile", filepath.Join(f.dir, "ca.crt"),
		"-CRLfile", filepath.Join(f.dir, "ca.crl"), filepath.Join(f.dir, name)).CombinedOutput()
	return string(out)
}

// serial returns a certificate's number as openssl writes it.
func serial(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber.Bytes()) }

// row is a line of pki list, without its serial's digits and its end.
type row struct{ kind, name, state string }

func (f folder) list() (rows []row) {
	f.t.Helper()
	text := f.pki("list")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if got := strings.Join(strings.Fields(lines[0]), " "); got != "KIND NAME SERIAL END (UTC) STATE" {
		f.t.Errorf("the head is %q", got)
	}
	for _, line := range lines[1:] {
		kind, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		words := strings.Fields(rest)
		date := slices.IndexFunc(words, func(w string) bool { _, err := time.Parse(time.DateOnly, w); return err == nil })
		if date < 2 {
			f.t.Fatalf("no date in %q", line)
		}
		rows = append(rows, row{kind, strings.Join(words[:date-1], " "), strings.Join(words[date+2:], " ")})
	}
	return rows
}
