package endpoint

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The reasons for which a request or a connection is refused.
const (
	unauthorized  = "unauthorized"   // no credentials, or wrong ones
	noCertificate = "no_certificate" // no client certificate
	badTLS        = "tls"            // no handshake: not even TLS, or a certificate that is not to be trusted
)

// queueTimeout is how long a password may wait for others to be compared.
const queueTimeout = 5 * time.Second

// guard tells who may read /metrics. It is safe for concurrent use.
type guard struct {
	auth        Auth
	certificate bool          // one is demanded
	comparing   chan struct{} // holds a token while bcrypt, which takes a core, is at work

	mu    sync.Mutex
	right [sha256.Size]byte // of the password that was right, so that each scrape need not take so long
	known bool
}

func newGuard(c Config) *guard {
	return &guard{auth: c.Auth, certificate: c.TLS.ClientCAFile != "", comparing: make(chan struct{}, 1)}
}

// refuses returns why the request may not have all, "" if it may.
func (g *guard) refuses(r *http.Request) string {
	if g.certificate && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return noCertificate
	}
	if g.auth == (Auth{}) {
		return ""
	}
	if token, ok := bearer(r); ok {
		want := g.auth.BearerToken.Reveal()
		if want != "" && subtle.ConstantTimeCompare([]byte(token), []byte(want)) == 1 {
			return ""
		}
		return unauthorized
	}
	if name, password, ok := r.BasicAuth(); ok && g.auth.Username != "" && g.user(r.Context(), name, password) {
		return ""
	}
	return unauthorized
}

func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// user reports whether it is that user with that password. A wrong name takes as
// long as a wrong password.
func (g *guard) user(ctx context.Context, name, password string) bool {
	named := subtle.ConstantTimeCompare([]byte(name), []byte(g.auth.Username)) == 1
	sum := sha256.Sum256([]byte(password))
	g.mu.Lock()
	right := g.known && subtle.ConstantTimeCompare(sum[:], g.right[:]) == 1
	g.mu.Unlock()
	if named && right {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	select {
	case g.comparing <- struct{}{}:
		defer func() { <-g.comparing }()
	case <-ctx.Done():
		return false
	}
	if bcrypt.CompareHashAndPassword([]byte(g.auth.PasswordHash.Reveal()), []byte(password)) != nil || !named {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.right, g.known = sum, true
	return true
}

// refuse answers that the request is refused, and says no more than how to ask.
func (g *guard) refuse(w http.ResponseWriter, reason string) {
	if reason == noCertificate {
		http.Error(w, "a client certificate is required", http.StatusForbidden)
		return
	}
	if g.auth.Username != "" {
		w.Header().Add("WWW-Authenticate", `Basic realm="telltale", charset="UTF-8"`)
	}
	if !g.auth.BearerToken.IsZero() {
		w.Header().Add("WWW-Authenticate", `Bearer realm="telltale"`)
	}
	http.Error(w, "unauthorized", http.StatusUnauthorized)
}
