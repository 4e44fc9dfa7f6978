package mongo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no URI":               {Database: "iot"},
		"no database":          {URI: "mongodb://localhost"},
		"another scheme":       {URI: "http://localhost", Database: "iot"},
		"no host":              {URI: "mongodb://", Database: "iot"},
		"contradiction":        {URI: "mongodb://a,b/?directConnection=true", Database: "iot"},
		"no file":              {URI: "mongodb://a/?tls=true&tlsCAFile=/nowhere", Database: "iot"},
		"negative TTL":         {URI: "mongodb://localhost", Database: "iot", FramesTTL: -time.Second},
		"TTL of no second":     {URI: "mongodb://localhost", Database: "iot", FramesTTL: time.Second - 1},
		"TTL beyond 32 bits":   {URI: "mongodb://localhost", Database: "iot", FramesTTL: math.MaxInt32*time.Second + 1},
		"several hosts to DNS": {URI: "mongodb+srv://a.b.test,c.d.test", Database: "iot"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestConnectionStrings: what the string asks for reaches the driver.
func TestConnectionStrings(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate, _ := selfSigned(t)
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, check := range map[string]func(o *options.ClientOptions) bool{
		"mongodb://db": func(o *options.ClientOptions) bool {
			return cmp.Equal(o.Hosts, []string{"db"}) && o.Auth == nil && o.TLSConfig == nil && o.ReplicaSet == nil
		},
		"mongodb://telltale:p%40ss%2Fw%3Ard@db:27018/iot?authSource=admin&authMechanism=SCRAM-SHA-256": func(o *options.ClientOptions) bool {
			return o.Auth.Username == "telltale" && o.Auth.Password == "p@ss/w:rd" && o.Auth.AuthSource == "admin" && o.Auth.AuthMechanism == "SCRAM-SHA-256"
		},
		"mongodb://telltale:secret@db/iot": func(o *options.ClientOptions) bool { return o.Auth.AuthSource == "iot" },
		"mongodb://db-1:27017,db-2:27018,[::1]:27019/?replicaSet=rs0": func(o *options.ClientOptions) bool {
			return cmp.Equal(o.Hosts, []string{"db-1:27017", "db-2:27018", "[::1]:27019"}) && *o.ReplicaSet == "rs0"
		},
		"mongodb://router-1,router-2/":          func(o *options.ClientOptions) bool { return cmp.Equal(o.Hosts, []string{"router-1", "router-2"}) },
		"mongodb://balancer/?loadBalanced=true": func(o *options.ClientOptions) bool { return *o.LoadBalanced },
		"mongodb://db/?tls=true&tlsCAFile=" + ca: func(o *options.ClientOptions) bool {
			return o.TLSConfig.RootCAs != nil && !o.TLSConfig.InsecureSkipVerify
		},
		"mongodb://db/?maxPoolSize=7&compressors=zstd&retryWrites=false&serverSelectionTimeoutMS=5": func(o *options.ClientOptions) bool {
			return *o.MaxPoolSize == 7 && cmp.Equal(o.Compressors, []string{"zstd"}) && !*o.RetryWrites && *o.ServerSelectionTimeout == 5*time.Millisecond
		},
		"mongodb://db/?journal=true": func(o *options.ClientOptions) bool { return *o.WriteConcern.Journal },
		"mongodb://db/?journal=false&w=0&wtimeoutMS=5&readConcernLevel=local&readPreference=secondary&timeoutMS=1&appName=x": func(o *options.ClientOptions) bool {
			return o.WriteConcern.Journal == nil && o.ReadPreference.Mode().String() == "primary" && *o.AppName == "telltale-ingest"
		},
	} {
		o, err := clientOptions(&Options{URI: uri})
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if o.WriteConcern.W != "majority" || o.ReadConcern.Level != "majority" || *o.Timeout != operationTimeout || !check(o) {
			t.Errorf("%s: %+v", uri, o)
		}
	}
}

// TestNothingWeakens: what is sent, if the string asks for less than our claims
// rest on.
func TestNothingWeakens(t *testing.T) {
	s := play(t, done(1), bson.D{{Key: "ok", Value: 1}, {Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: "iot.x"}, {Key: "firstBatch", Value: bson.A{}}}}})
	c := open(t, Options{
		URI: "mongodb://" + s.addr() + "/?replicaSet=rs&w=1&journal=false&readConcernLevel=local&readPreference=secondaryPreferred", Database: "iot",
	})
	if _, err := c.PutFrames(t.Context(), []sink.Frame{frame("a", 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sensors(t.Context(), []string{"a/0-1"}); err != nil {
		t.Fatal(err)
	}
	asked := s.commands()
	if diff := cmp.Diff(bson.D{{Key: "w", Value: "majority"}}, asked[0]["writeConcern"]); diff != "" {
		t.Errorf("write concern: -want +sent:\n%s", diff)
	}
	if diff := cmp.Diff(bson.D{{Key: "level", Value: "majority"}}, asked[1]["readConcern"]); diff != "" {
		t.Errorf("read concern: -want +sent:\n%s", diff)
	}
	if preference, ok := asked[1]["$readPreference"]; ok {
		t.Errorf("read preference %v, want the primary, which is not said", preference)
	}
}

// TestPasswordsStay: no error and no line of the log has the password of a
// connection string, nor a part of it, be the string right or wrong.
func TestPasswordsStay(t *testing.T) {
	const secret = "hunter2"
	s := play(t)
	for _, uri := range []string{
		"mongodb://me:" + secret,
		"mongodb://me:" + secret + "/iot",
		"mongodb://me:" + secret + "@",
		"mongodb://me:" + secret + "@@db",
		"mongodb://me:" + secret + "/x@db",
		"mongodb://me:" + secret + ":x@db",
		"mongodb://me:%zz" + secret + "@db",
		"mongodb://me:" + secret + "%@db",
		"mongodb://me:x@" + secret + ":y",
		"mongodb://me:" + secret + "@db:99999999",
		"mongodb://me:" + secret + "@db?x",
		"mongodb://me:" + secret + "@db/?w=" + secret + "%",
		"mongodb://me:" + secret + "@db/?tlsCertificateKeyFilePassword=%zz" + secret,
		"mongodb://me:" + secret + "@db/?authMechanismProperties=" + secret,
		"mongodb://me:" + secret + "@db/?authMechanism=" + secret,
		"mongodb://me:" + secret + "@db/?tls=true&tlsCAFile=/nowhere",
		"mongodb+srv://me:" + secret,
		"mongodb+srv://me:" + secret + "@a,b",
		"mongodb+srv://me:" + secret + "@db.telltale.invalid:1/",
		"mongodb+srv://me:" + secret + "@db.telltale.invalid/",
		secret,
		"mongodb://me:" + secret + "@" + s.addr() + "/?replicaSet=rs&serverSelectionTimeoutMS=50",
		"mongodb://me:" + secret + "@127.0.0.1:1/?serverSelectionTimeoutMS=50",
		"mongodb://me:" + secret + "@" + s.addr() + "/?tls=true&serverSelectionTimeoutMS=50",
	} {
		var log bytes.Buffer
		c, err := New(Options{URI: uri, Database: "iot", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		if err == nil {
			// These can be tried, and fail.
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if err = c.Ping(ctx); err == nil {
				t.Errorf("%s: no error", uri)
			}
			cancel()
			c.Close(context.Background())
		}
		if text := err.Error() + log.String(); strings.Contains(text, secret) || strings.Contains(text, "zz") {
			t.Errorf("%s: %s", uri, text)
		}
	}
	// What is no secret is named.
	_, err := New(Options{URI: "mongodb://me:secret@db/?maxPoolSize=many", Database: "iot"})
	if want := `mongo: connection string: error parsing uri: invalid value for "maxPoolSize": "…"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestHostsFromDNS: a name of a mongodb+srv string is asked for until DNS
// answers, and what its records say reaches the driver.
func TestHostsFromDNS(t *testing.T) {
	s := play(t)
	_, port, err := net.SplitHostPort(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	resolve(t, func(q dnsmessage.Question) dnsmessage.ResourceBody {
		switch name := q.Name.String(); {
		case !up.Load():
			return nil
		case q.Type == dnsmessage.TypeSRV && name == "_mongodb._tcp.iot.telltale.test.":
			return &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("db-1.telltale.test."), Port: uint16(number)}
		case q.Type == dnsmessage.TypeTXT && name == "iot.telltale.test.":
			return &dnsmessage.TXTResource{TXT: []string{"replicaSet=rs&authSource=users"}}
		case q.Type == dnsmessage.TypeA && name == "db-1.telltale.test.":
			return &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}
		}
		return nil
	})
	c := open(t, Options{URI: "mongodb+srv://me:secret@iot.telltale.test/?serverSelectionTimeoutMS=50", Database: "iot"})
	if err := c.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "lookup _mongodb._tcp.iot.telltale.test") || strings.Contains(err.Error(), "secret") {
		t.Errorf("without DNS: %v", err)
	}
	if _, err := c.Sensors(t.Context(), []string{"a/0-1"}); err == nil {
		t.Error("without DNS: windows read")
	}
	up.Store(true)
	o, err := clientOptions(&c.options)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(o.Hosts, []string{"db-1.telltale.test:" + port}) || *o.ReplicaSet != "rs" || o.Auth.AuthSource != "users" || o.TLSConfig == nil {
		t.Errorf("options %+v", o)
	}
	// Without TLS and credentials, which the script has not.
	c.options.URI = "mongodb+srv://iot.telltale.test/?tls=false"
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("with DNS: %v", err)
	}
}

// resolve has this process ask a DNS server that answers with one resource, or
// with a failure.
func resolve(t *testing.T, answer func(dnsmessage.Question) dnsmessage.ResourceBody) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before, ended := net.DefaultResolver, make(chan struct{})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		packet := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(packet[:n]); err != nil || len(m.Questions) != 1 {
				continue
			}
			m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
			m.Answers, m.Additionals = nil, nil
			q := m.Questions[0]
			if body := answer(q); body != nil {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: body}}
			} else {
				m.RCode = dnsmessage.RCodeServerFailure
			}
			reply, err := m.Pack()
			if err != nil {
				continue
			}
			_, _ = server.WriteTo(reply, from)
		}
	}()
}

// selfSigned returns a certificate of 127.0.0.1 that is its own authority, and
// its key, in PEM.
// TestRenewedCertificate: each connection is made with the certificate that is in
// the file at that time. The server ends them all, so that the driver tries on.
func TestRenewedCertificate(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{root.Issue(t, "127.0.0.1", end).TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var shown atomic.Pointer[x509.Certificate]
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if secured, ok := c.(*tls.Conn); ok && secured.HandshakeContext(t.Context()) == nil {
				shown.Store(secured.ConnectionState().PeerCertificates[0])
			}
			_ = c.Close()
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	dir := t.TempDir()
	ca, pair := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem")
	certificatetest.Write(t, ca, root.PEM())
	first, second := root.Issue(t, "ingest", end), root.Issue(t, "ingest", end)
	certificatetest.Write(t, pair, append(first.PEM(), first.KeyPEM(t)...))
	o := Options{Database: "iot", URI: "mongodb://" + l.Addr().String() + "/?directConnection=true&heartbeatFrequencyMS=500&authMechanism=MONGODB-X509&tls=true&tlsCAFile=" + ca + "&tlsCertificateKeyFile=" + pair}
	open(t, o)
	for _, want := range []*certificatetest.Issued{first, second} {
		certificatetest.Write(t, pair, append(want.PEM(), want.KeyPEM(t)...))
		await.True(t, 20*time.Second, "the certificate in the file is shown", func() bool { return want.Equal(shown.Load()) })
	}

	c, err := clientOptions(&o)
	if err != nil || c.Auth.Username != "CN=ingest" {
		t.Fatalf("%+v, %v: want the certificate's subject for the user", c.Auth, err)
	}
	if err := os.Remove(pair); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TLSConfig.GetClientCertificate(nil); err == nil || !strings.Contains(err.Error(), pair) {
		t.Errorf("without the file: %v", err)
	}
}

func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "telltale test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
