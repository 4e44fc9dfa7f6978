package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
	"github.com/telltale-iot/telltale/internal/settings"
)

const (
	password = "correct horse battery staple"
	token    = "0123456789abcdef"
)

func hash(t *testing.T) settings.Secret {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return settings.NewSecret(string(h))
}

// served is an endpoint that serves until the test ends.
type served struct {
	addr string
	log  *capture.Output

	mu      sync.Mutex
	refused map[string]int
}

func (s *served) options(c Config) Options {
	return Options{
		Config: c, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Health: func() error { return errors.New("hangs: commit") },
		Ready:  func(context.Context) ([]string, bool) { return []string{"mongo.internal: away", "sink: ready"}, false },
		Refused: func(reason string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refused[reason]++
		},
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func serve(t *testing.T, c Config) *served {
	t.Helper()
	s := &served{log: &capture.Output{}, refused: map[string]int{}}
	c.Listen = "127.0.0.1:0"
	server, err := Listen(t.Context(), s.options(c))
	if err != nil {
		t.Fatal(err)
	}
	s.addr = server.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, secret := range []string{password, token, c.Auth.PasswordHash.Reveal()} {
			if secret != "" && strings.Contains(s.log.String(), secret) {
				t.Errorf("the log has a secret:\n%s", s.log)
			}
		}
	})
	return s
}

// expect waits until so much was refused for a reason: a handshake's end is the
// client's before it is the server's.
func (s *served) expect(t *testing.T, reason string, want int) {
	t.Helper()
	await.True(t, 20*time.Second, fmt.Sprintf("%d are refused as %s", want, reason), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.refused[reason] == want
	})
}

// get asks with a client of its own.
func (s *served) get(t *testing.T, config *tls.Config, path, authorization string) (status int, body string, header http.Header, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user, secret, ok := strings.Cut(authorization, ":"); ok {
		request.SetBasicAuth(user, secret)
	} else if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data), response.Header, nil
}

// TestCredentials says who is answered what.
func TestCredentials(t *testing.T) {
	basic := Auth{Username: "prometheus", PasswordHash: hash(t)}
	bearer := Auth{BearerToken: settings.NewSecret(token)}
	both := Auth{Username: "prometheus", PasswordHash: hash(t), BearerToken: settings.NewSecret(token)}
	const (
		nobody = `Basic realm="telltale", charset="UTF-8"`
		either = nobody + `, Bearer realm="telltale"`
	)
	for _, tt := range []struct {
		name          string
		auth          Auth
		authorization string
		challenge     string // "": it is let in
	}{
		{"open", Auth{}, "", ""},
		{"open, and credentials", Auth{}, "prometheus:guess", ""},
		{"password", basic, "prometheus:" + password, ""},
		{"no password", basic, "", nobody},
		{"wrong password", basic, "prometheus:guess", nobody},
		{"empty password", basic, "prometheus:", nobody},
		{"the hash as password", basic, "prometheus:" + basic.PasswordHash.Reveal(), nobody},
		{"wrong user", basic, "grafana:" + password, nobody},
		{"no user", basic, ":" + password, nobody},
		{"a token where there is none", basic, "Bearer " + token, nobody},
		{"an empty token where there is none", basic, "Bearer ", nobody},
		{"token", bearer, "bearer " + token, ""},
		{"wrong token", bearer, "Bearer " + token + "0", `Bearer realm="telltale"`},
		{"no user where there is none", bearer, ":", `Bearer realm="telltale"`},
		{"either, password", both, "prometheus:" + password, ""},
		{"either, token", both, "Bearer " + token, ""},
		{"either, wrong", both, "Digest x", either},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, Config{Auth: tt.auth})
			for range 2 { // a password that was right is remembered
				status, body, header, err := s.get(t, nil, "/metrics", tt.authorization)
				if err != nil {
					t.Fatal(err)
				}
				wantStatus, wantBody := http.StatusOK, "up 1\n"
				if tt.challenge != "" {
					wantStatus, wantBody = http.StatusUnauthorized, "unauthorized\n"
				}
				if challenge := strings.Join(header.Values("WWW-Authenticate"), ", "); status != wantStatus || body != wantBody || challenge != tt.challenge {
					t.Errorf("/metrics: %d %q, %s; want %d %q, %s", status, body, challenge, wantStatus, wantBody, tt.challenge)
				}
			}
			refused := 0
			if tt.challenge != "" {
				refused = 2
			}
			s.expect(t, "unauthorized", refused)
			for path, want := range map[string]string{Health: "hangs: commit\n", Ready: "mongo.internal: away\nsink: ready\n"} {
				if tt.challenge != "" {
					want = "the reasons are in the log, and here for those with credentials\n"
				}
				if status, body, _, err := s.get(t, nil, path, tt.authorization); err != nil || status != http.StatusServiceUnavailable || body != want {
					t.Errorf("%s: %d %q, %v; want 503 %q", path, status, body, err, want)
				}
			}
			if tt.authorization != "" {
				refused *= 2 // a guess at these two is one as well
			}
			s.expect(t, "unauthorized", refused)
		})
	}
}

// TestPasswordIsForgotten: one that was right is not so for another user, nor once
// another is given.
func TestPasswordIsForgotten(t *testing.T) {
	s := serve(t, Config{Auth: Auth{Username: "prometheus", PasswordHash: hash(t)}})
	for _, tt := range []struct {
		authorization string
		status        int
	}{{"prometheus:" + password, 200}, {"grafana:" + password, 401}, {"prometheus:" + password + " ", 401}, {"prometheus:" + password, 200}} {
		if status, _, _, err := s.get(t, nil, "/metrics", tt.authorization); err != nil || status != tt.status {
			t.Errorf("%s: %d, %v; want %d", tt.authorization, status, err, tt.status)
		}
	}
}

// files writes a pair and an authority, and returns the settings of them.
func files(t *testing.T, pair, clients *certificatetest.Issued) TLS {
	t.Helper()
	dir := t.TempDir()
	c := TLS{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	certificatetest.Write(t, c.CertFile, pair.PEM())
	certificatetest.Write(t, c.KeyFile, pair.KeyPEM(t))
	if clients != nil {
		c.ClientCAFile = filepath.Join(dir, "clients")
		certificatetest.Write(t, c.ClientCAFile, clients.PEM())
	}
	return c
}

func TestTLS(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	first, second := root.Issue(t, "127.0.0.1", end), root.Issue(t, "127.0.0.1", end)
	c := Config{TLS: files(t, first, nil)}
	s := serve(t, c)
	client := func() *tls.Config { return &tls.Config{RootCAs: root.Pool()} }
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", s.addr, client())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}

	if status, body, _, err := s.get(t, client(), "/metrics", ""); err != nil || status != http.StatusOK || body != "up 1\n" {
		t.Errorf("TLS: %d %q, %v", status, body, err)
	}
	if status, body, _, err := s.get(t, nil, "/metrics", ""); err != nil || status != http.StatusBadRequest || strings.Contains(body, "up 1") {
		t.Errorf("without TLS: %d %q, %v; want 400", status, body, err)
	}
	old := client()
	old.MaxVersion = tls.VersionTLS11
	if _, _, _, err := s.get(t, old, "/metrics", ""); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	if shown() != first.SerialNumber.String() {
		t.Error("another certificate is shown")
	}
	certificatetest.Write(t, c.TLS.CertFile, second.PEM())
	if shown() != first.SerialNumber.String() {
		t.Error("half renewed, the old certificate is not shown")
	}
	certificatetest.Write(t, c.TLS.KeyFile, second.KeyPEM(t))
	if shown() != second.SerialNumber.String() {
		t.Error("the renewed certificate is not shown")
	}
	s.expect(t, "tls", 2)

	// The command health asks the same.
	c.Listen = s.addr
	if err := Ask(t.Context(), c, Health); err == nil || !strings.HasSuffix(err.Error(), "503 Service Unavailable\nhangs: commit") {
		t.Errorf("Ask: %v", err)
	}
	if err := Ask(t.Context(), c, "/metrics"); err != nil {
		t.Errorf("Ask: %v", err)
	}
	c.TLS.CertFile = files(t, first, nil).CertFile
	if err := Ask(t.Context(), c, Health); !errors.Is(err, errPinned) {
		t.Errorf("Ask, with another's certificate: %v", err)
	}
	c.TLS.CertFile += ".not"
	if err := Ask(t.Context(), c, Health); err == nil || !strings.Contains(err.Error(), "cert.not: no such file") {
		t.Errorf("Ask, without a certificate: %v", err)
	}
}

// TestClientCertificates demands them for /metrics, and no password besides or one
// besides.
func TestClientCertificates(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root, others := certificatetest.Authority(t, end), certificatetest.Authority(t, end)
	c := Config{TLS: files(t, root.Issue(t, "127.0.0.1", end), root), Auth: Auth{BearerToken: settings.NewSecret(token)}}
	s := serve(t, c)
	client := func(pair *certificatetest.Issued) *tls.Config {
		config := &tls.Config{RootCAs: root.Pool()}
		if pair != nil {
			// Whether or not the server names the authority.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				certificate := pair.TLS()
				return &certificate, nil
			}
		}
		return config
	}
	ours, theirs := root.Issue(t, "prometheus", end), others.Issue(t, "prometheus", end)
	expect := func(what string, config *tls.Config, authorization string, want int) {
		t.Helper()
		status, body, _, err := s.get(t, config, "/metrics", authorization)
		if want == 0 && err == nil || want != 0 && (err != nil || status != want || strings.Contains(body, "up 1") != (want == 200)) {
			t.Errorf("%s: %d %q, %v; want %d", what, status, body, err, want)
		}
	}
	expect("certificate and token", client(ours), "Bearer "+token, 200)
	expect("certificate alone", client(ours), "", 401)
	expect("token alone", client(nil), "Bearer "+token, 403)
	expect("another authority's", client(theirs), "Bearer "+token, 0)
	expect("expired", client(root.Issue(t, "prometheus", time.Now().Add(-time.Hour))), "Bearer "+token, 0)
	if status, body, _, err := s.get(t, client(nil), Ready, ""); err != nil || status != 503 || strings.Contains(body, "mongo") {
		t.Errorf("%s without a certificate: %d %q, %v", Ready, status, body, err)
	}
	certificatetest.Write(t, c.TLS.ClientCAFile, others.PEM())
	expect("the other authority's, once it is the one", client(theirs), "Bearer "+token, 200)
	expect("the old one's", client(ours), "Bearer "+token, 0)
	s.expect(t, "no_certificate", 1)
	s.expect(t, "unauthorized", 1)
	s.expect(t, "tls", 3)
}

func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	end := time.Now().Add(time.Hour)
	good := files(t, certificatetest.Authority(t, end), nil)
	noKey, noAuthorities := good, good
	noKey.KeyFile += ".not"
	noAuthorities.ClientCAFile = good.KeyFile
	for want, c := range map[string]Config{
		"metrics.listen: listen tcp " + taken.Addr().String(): {Listen: taken.Addr().String(), TLS: good},
		"metrics.tls: certificate: open " + noKey.KeyFile:     {Listen: "127.0.0.1:0", TLS: noKey},
		"metrics.tls: client authorities: " + good.KeyFile:    {Listen: "127.0.0.1:0", TLS: noAuthorities},
	} {
		if _, err := Listen(t.Context(), (&served{log: &capture.Output{}}).options(c)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestWarnsOfAnOpenEndpoint warns once, and of what is missing.
func TestWarnsOfAnOpenEndpoint(t *testing.T) {
	pair := files(t, certificatetest.Authority(t, time.Now().Add(time.Hour)), nil)
	authority := pair
	authority.ClientCAFile = pair.CertFile
	auth := Auth{BearerToken: settings.NewSecret(token)}
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Listen: "127.0.0.1:0"}, ""},
		{Config{Listen: "[::1]:0"}, ""},
		{Config{Listen: "localhost:0"}, ""},
		{Config{Listen: ":0"}, `without="tls, authentication"`},
		{Config{Listen: "0.0.0.0:0", Auth: auth}, `without=tls`},
		{Config{Listen: "[::]:0", TLS: pair}, `without=authentication`},
		{Config{Listen: ":0", TLS: pair, Auth: auth}, ""},
		{Config{Listen: ":0", TLS: authority}, ""},
	} {
		s := &served{log: &capture.Output{}}
		server, err := Listen(t.Context(), s.options(tt.config))
		if err != nil {
			t.Fatal(err)
		}
		server.listener.Close()
		lines := strings.Count(s.log.String(), "\n")
		if !strings.Contains(s.log.String(), tt.want) || (lines == 0) != (tt.want == "") || lines > 1 {
			t.Errorf("%s: log %q, want %q", tt.config.Listen, s.log, tt.want)
		}
	}
}

// pipes is a listener whose connections are pipes, for a bubble of synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// TestSlowClients: one that does not end its header, one that says nothing after its
// request, and one that does not read its answer are rid of in time.
func TestSlowClients(t *testing.T) {
	for _, tt := range []struct {
		name, sends string
		every       time.Duration
		reads       bool
		ends        time.Duration
	}{
		{"header, byte by byte", "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100), time.Second, true, headerTimeout},
		{"nothing at all", "", time.Second, true, headerTimeout},
		{"idle", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 0, true, idleTimeout},
		{"answer not read", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, writeTimeout},
		{"header too long", "GET /metrics HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 0, true, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := &pipes{make(chan net.Conn), make(chan struct{})}
				s := &served{log: &capture.Output{}, refused: map[string]int{}}
				server := newServer(s.options(Config{}), listener, nil)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- server.Run(ctx) }()
				ours, theirs := net.Pipe()
				listener.conns <- theirs
				began := time.Now()
				var sender sync.WaitGroup
				sender.Go(func() {
					if tt.every == 0 {
						_, _ = io.WriteString(ours, tt.sends)
						return
					}
					for i := range tt.sends {
						if _, err := io.WriteString(ours, tt.sends[i:i+1]); err != nil {
							return
						}
						<-time.After(tt.every)
					}
				})
				if !tt.reads {
					<-time.After(writeTimeout + time.Second) // a write that timed out was the last
				}
				answer, err := io.ReadAll(ours)
				took := time.Since(began)
				if err != nil || took < tt.ends-time.Second && tt.ends > time.Second || took > tt.ends+2*time.Second {
					t.Errorf("ended after %v with %q, %v; want %v", took, answer, err, tt.ends)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				ours.Close()
				sender.Wait()
			})
		})
	}
}

// TestBruteForce: guesses take one processor, and whoever was let in before does
// not wait for them.
func TestBruteForce(t *testing.T) {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(Config{Auth: Auth{Username: "prometheus", PasswordHash: settings.NewSecret(string(h))}})
		if !g.user(t.Context(), "prometheus", password) {
			t.Fatal("refused")
		}
		g.comparing <- struct{}{} // one is at work
		began := time.Now()
		if !g.user(t.Context(), "prometheus", password) || time.Since(began) > 0 {
			t.Errorf("waited %v", time.Since(began))
		}
		if g.user(t.Context(), "prometheus", "guess") || time.Since(began) != queueTimeout {
			t.Errorf("a guess waited %v, want %v", time.Since(began), queueTimeout)
		}
	})
}

func TestValidate(t *testing.T) {
	h := hash(t).Reveal()
	dear := strings.Replace(h, "$04$", "$15$", 1)
	type group struct {
		TLS  TLS  `yaml:"tls"`
		Auth Auth `yaml:"auth"`
	}
	type root struct {
		Metrics group `yaml:"metrics"`
	}
	for _, tt := range []struct {
		yaml string
		env  map[string]string
		want string // "" is right
	}{
		{"", nil, ""},
		{"tls: {cert_file: a, key_file: b, client_ca_file: c}", nil, ""},
		{"tls: {cert_file: a}", nil, "metrics.tls.key_file: want the private key that belongs to cert_file"},
		{"tls: {key_file: a}", nil, "metrics.tls.cert_file: want the certificate that belongs to key_file"},
		{"tls: {client_ca_file: a}", nil, "metrics.tls.cert_file: want the endpoint's own certificate, without which it cannot ask for a client's"},
		{"auth: {username: p}", map[string]string{"PASSWORD_HASH": h}, ""},
		{"auth: {username: p}", map[string]string{"PASSWORD_HASH": "$2y$10$" + h[7:]}, ""},
		{"auth: {username: p}", nil, "metrics.auth.password_hash_file: want the file that holds the bcrypt hash of the user's password"},
		{"", map[string]string{"PASSWORD_HASH": h}, "metrics.auth.username: want the user that the password belongs to"},
		{"auth: {username: \"a:b\"}", map[string]string{"PASSWORD_HASH": h}, "metrics.auth.username: a:b: want a user's name without a colon"},
		{"auth: {username: p}", map[string]string{"PASSWORD_HASH": password}, "metrics.auth.password_hash: want a bcrypt hash"},
		{"auth: {username: p}", map[string]string{"PASSWORD_HASH": "p:" + h}, "metrics.auth.password_hash: want a bcrypt hash"},
		{"auth: {username: p}", map[string]string{"PASSWORD_HASH": dear}, "with a cost of at most 14"},
		{"", map[string]string{"BEARER_TOKEN": token}, ""},
		{"", map[string]string{"BEARER_TOKEN": "short"}, "metrics.auth.bearer_token: want at least 16 characters that a header may have"},
		{"", map[string]string{"BEARER_TOKEN": token + "\n" + token}, "metrics.auth.bearer_token: want at least 16 characters"},
		{"auth: {password_hash: " + password + "}", nil, "metrics.auth.password_hash: want the secret in a file of its own"},
	} {
		file := filepath.Join(t.TempDir(), "file.yaml")
		certificatetest.Write(t, file, []byte("metrics: {"+tt.yaml+"}\n"))
		var c root
		err := settings.New(&c).Load(file, func(name string) (string, bool) {
			value, ok := tt.env[strings.TrimPrefix(name, "TELLTALE_METRICS_AUTH_")]
			return value, ok
		})
		got := fmt.Sprint(err)
		if (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s %v:\n%v\nwant %s", tt.yaml, tt.env, err, tt.want)
		}
		for _, secret := range tt.env {
			if strings.Contains(got, secret) {
				t.Errorf("the message has the secret: %s", got)
			}
		}
	}
}
