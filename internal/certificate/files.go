package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// maxFile bounds a PEM file, so that a wrong name (a device, a log) does no harm;
// a host's bundle of authorities has 200 KiB.
const maxFile = 4 << 20

// read returns the content of a file.
func read(name string) (data []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("%s: longer than 4MiB", name)
	}
	return data, err
}

var errNone = errors.New("no certificate in PEM form")

// Parse returns the certificates in PEM data, at least one, and passes over keys.
func Parse(data []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
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
		return nil, errNone
	}
	return all, nil
}

// files is what was last made of the content of some files.
type files[T any] struct {
	names []string
	make  func(contents [][]byte) (T, error)
	log   *slog.Logger

	mu      sync.Mutex
	made    T
	of      [][]byte // what made was made of
	refused [][]byte // what could not be used and was logged; nil: nothing
}

// open makes the first one.
func open[T any](log *slog.Logger, make func([][]byte) (T, error), names ...string) (*files[T], error) {
	f := &files[T]{names: names, make: make, log: log}
	contents, err := f.read()
	if err != nil {
		return nil, err
	}
	if f.made, err = make(contents); err != nil {
		return nil, err
	}
	f.of = contents
	return f, nil
}

func (f *files[T]) read() (contents [][]byte, err error) {
	for _, name := range f.names {
		content, err := read(name)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

func same(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// current returns what the files say now. While they cannot be used, as between the
// two writes of a renewal, it is what they said before, which is logged once.
func (f *files[T]) current() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	contents, err := f.read()
	switch {
	case err == nil && same(contents, f.of):
		f.refused = nil
		return f.made
	case err == nil:
		made, wrong := f.make(contents)
		if err = wrong; err == nil {
			f.made, f.of, f.refused = made, contents, nil
			return made
		}
	}
	if contents == nil {
		contents = [][]byte{[]byte(err.Error())}
	}
	if !same(contents, f.refused) {
		f.refused = contents
		f.log.Warn("renewed certificate cannot be used; the old one stays", "files", f.names, "error", err)
	}
	return f.made
}

// Pair is a certificate, with those that signed it, and its key. It is safe for
// concurrent use.
type Pair struct{ files *files[*tls.Certificate] }

// NewPair reads the pair from PEM files; the error names the one that is wrong.
func NewPair(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	f, err := open(log, func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", certFile, keyFile, err)
		}
		return &pair, nil
	}, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &Pair{f}, nil
}

// Current returns the pair that the files hold now; the one before while they
// hold none.
func (p *Pair) Current() *tls.Certificate { return p.files.current() }

// Pool is a set of authorities. It is safe for concurrent use.
type Pool struct{ files *files[*x509.CertPool] }

// NewPool reads the authorities from a PEM file.
func NewPool(file string, log *slog.Logger) (*Pool, error) {
	f, err := open(log, func(contents [][]byte) (*x509.CertPool, error) {
		all, err := Parse(contents[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		pool := x509.NewCertPool()
		for _, c := range all {
			pool.AddCert(c)
		}
		return pool, nil
	}, file)
	if err != nil {
		return nil, err
	}
	return &Pool{f}, nil
}

// Current returns the authorities that the file holds now; those before while it
// holds none.
func (p *Pool) Current() *x509.CertPool { return p.files.current() }
