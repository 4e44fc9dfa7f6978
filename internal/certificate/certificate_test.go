package certificate

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

var today = time.Date(2026, time.November, 27, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func in(days int) time.Time { return today.Add(time.Duration(days) * day) }

// logger returns a log without times, and what was said to it since last asked.
func logger() (*slog.Logger, func() string) {
	var out capture.Output
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "file" || a.Key == "files" || a.Key == "error" {
			return slog.Attr{}
		}
		return a
	}}))
	return log, out.Take
}

// TestPair renews a pair as two writes do, and spoils it.
func TestPair(t *testing.T) {
	root := certificatetest.Authority(t, in(100))
	first, second, third := root.Issue(t, "first", in(50)), root.Issue(t, "second", in(60)), root.Issue(t, "third", in(70))
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	log, said := logger()
	if _, err := NewPair(cert, key, log); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("no files: %v", err)
	}
	certificatetest.Write(t, cert, first.PEM(root))
	certificatetest.Write(t, key, second.KeyPEM(t))
	if _, err := NewPair(cert, key, log); err == nil || !strings.Contains(err.Error(), "does not match") || !strings.Contains(err.Error(), key) {
		t.Errorf("another key: %v", err)
	}
	certificatetest.Write(t, key, first.KeyPEM(t))
	p, err := NewPair(cert, key, log)
	if err != nil {
		t.Fatal(err)
	}
	const refused = `level=WARN msg="renewed certificate cannot be used; the old one stays"` + "\n"
	expect := func(name, wantLog string) {
		t.Helper()
		if got := p.Current().Leaf.Subject.CommonName; got != name {
			t.Errorf("the certificate is %s, want %s", got, name)
		}
		if got := said(); got != wantLog {
			t.Errorf("log %q, want %q", got, wantLog)
		}
	}
	expect("first", "")
	certificatetest.Write(t, cert, second.PEM())
	expect("first", refused)
	expect("first", "")
	certificatetest.Write(t, key, second.KeyPEM(t))
	expect("second", "")
	certificatetest.Write(t, cert, nil)
	expect("second", refused)
	certificatetest.Write(t, cert, second.PEM())
	expect("second", "")
	certificatetest.Write(t, cert, nil)
	expect("second", refused) // it was right in between
	certificatetest.Write(t, cert, third.PEM())
	certificatetest.Write(t, key, third.KeyPEM(t))
	expect("third", "")
}

func TestPool(t *testing.T) {
	old, next := certificatetest.Authority(t, in(1)), certificatetest.Authority(t, in(100))
	file := filepath.Join(t.TempDir(), "ca")
	log, said := logger()
	certificatetest.Write(t, file, []byte("none"))
	if _, err := NewPool(file, log); err == nil || !strings.Contains(err.Error(), file+": no certificate in PEM form") {
		t.Errorf("no certificate: %v", err)
	}
	certificatetest.Write(t, file, bytes.Repeat([]byte("#"), maxFile+1))
	if _, err := NewPool(file, log); err == nil || !strings.Contains(err.Error(), "longer than 4MiB") {
		t.Errorf("too long: %v", err)
	}
	certificatetest.Write(t, file, old.PEM())
	p, err := NewPool(file, log)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Current().Equal(old.Pool()) {
		t.Error("not the old authority")
	}
	certificatetest.Write(t, file, next.PEM())
	if !p.Current().Equal(next.Pool()) || said() != "" {
		t.Error("not the next authority")
	}
}

func TestEnds(t *testing.T) {
	root, old, older := certificatetest.Authority(t, in(100)), certificatetest.Authority(t, in(-1)), certificatetest.Authority(t, in(-2))
	next := certificatetest.Authority(t, in(200))
	dir := t.TempDir()
	var files []File
	want := map[string]time.Time{}
	for _, tt := range []struct {
		use         string
		authorities bool
		content     []byte
		want        time.Time
	}{
		{"leaf", false, root.Issue(t, "a", in(30)).PEM(root), in(30)},
		{"signer ends first", false, root.Issue(t, "a", in(300)).PEM(root), in(100)},
		{"expired", false, root.Issue(t, "a", in(-3)).PEM(root), in(-3)},
		{"with its key", false, append(root.Issue(t, "a", in(30)).KeyPEM(t), root.Issue(t, "a", in(31)).PEM()...), in(31)},
		{"authority", true, root.PEM(), in(100)},
		{"authorities", true, next.PEM(root), in(100)},
		{"an old authority and its successors", true, old.PEM(next, root, older), in(100)},
		{"and in another order", true, root.PEM(old, older, next), in(100)},
		{"old authorities", true, older.PEM(old), in(-1)},
		{"no certificate", true, []byte("none"), time.Time{}},
		{"torn", false, bytes.Replace(root.PEM(), []byte("M"), []byte("x"), 1), time.Time{}},
	} {
		name := filepath.Join(dir, tt.use)
		certificatetest.Write(t, name, tt.content)
		files = append(files, File{tt.use, name, tt.authorities})
		if !tt.want.IsZero() {
			want[tt.use] = tt.want
		}
	}
	files = append(files, File{Use: "not configured"}, File{Use: "not there", Name: filepath.Join(dir, "none")})
	now := today
	log, _ := logger()
	e := NewExpiry(files, func() time.Time { return now }, log)
	if diff := cmp.Diff(want, e.Ends()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if end := e.End("leaf"); !end.Equal(in(30)) || !e.End("not there").IsZero() {
		t.Errorf("leaf ends at %v", end)
	}

	certificatetest.Write(t, filepath.Join(dir, "leaf"), root.Issue(t, "a", in(90)).PEM())
	now = now.Add(readInterval - 1)
	if end := e.End("leaf"); !end.Equal(in(30)) {
		t.Errorf("read again within a minute: %v", end)
	}
	now = now.Add(1)
	if end := e.End("leaf"); !end.Equal(in(90)) {
		t.Errorf("not read again: %v", end)
	}
	certificatetest.Write(t, filepath.Join(dir, "leaf"), root.Issue(t, "a", in(91)).PEM())
	now = today.Add(-day) // the clock was wrong
	if end := e.End("leaf"); !end.Equal(in(91)) {
		t.Errorf("not read again: %v", end)
	}
}

// TestWarns lets three weeks pass: over a certificate's end, and its renewal.
func TestWarns(t *testing.T) {
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		root := certificatetest.Authority(t, start.Add(400*day))
		certificatetest.Write(t, cert, root.Issue(t, "pi", start.Add(16*day)).PEM())
		log, said := logger()
		e := NewExpiry([]File{{Use: "mqtt_client", Name: cert}, {Use: "mqtt_ca", Name: filepath.Join(dir, "ca"), Authorities: true}}, time.Now, log)
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- Watch(ctx, e.Warn) }()
		after := func(d time.Duration) string {
			<-time.After(d)
			synctest.Wait()
			return said()
		}
		const unreadable = `level=WARN msg="certificate cannot be read" use=mqtt_ca` + "\n"
		if got := after(time.Minute); got != unreadable {
			t.Errorf("at first: %s", got)
		}
		certificatetest.Write(t, filepath.Join(dir, "ca"), root.PEM())
		if got := after(2*day - time.Hour); got != "" {
			t.Errorf("before there are 14 days: %s", got)
		}
		got := after(14 * day)
		lines := strings.Split(strings.TrimSpace(got), "\n")
		if len(lines) != 14 || !strings.Contains(lines[0], `msg="certificate expires soon" use=mqtt_client expires=2000-01-17T00:00:00Z days=13`) ||
			!strings.HasSuffix(lines[13], "days=0") {
			t.Errorf("in the last 14 days:\n%s", got)
		}
		got = after(2 * day)
		if want := `level=WARN msg="certificate has expired" use=mqtt_client expired=2000-01-17T00:00:00Z` + "\n"; got != want+want {
			t.Errorf("in two days after its end:\n%s", got)
		}
		certificatetest.Write(t, cert, root.Issue(t, "pi", time.Now().Add(90*day)).PEM())
		if got := after(20 * day); got != "" {
			t.Errorf("after it was renewed: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
