package refusal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLog: what many parts meet is said once, what is of another scope for
// itself, and again only after it was over for a while.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	l := NewLog("kafka", slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	login := &Error{Reason: "authentication_failed", Message: "no", Hint: "see x", Err: errors.New("bad")}
	topic := &Error{Scope: "topic t", Reason: "topic_authorization_failed", Message: "not t", Hint: "see y", Err: errors.New("bad")}
	for i, step := range []struct {
		after int // seconds
		do    func()
		want  string // what is said, nothing if empty
	}{
		{0, func() { l.Served("topic t") }, ""},
		{0, func() { l.Refused(login) }, `level=ERROR msg="refused by a server; retrying" server=kafka reason=authentication_failed error="no: bad; see x"`},
		{5, func() { l.Refused(login) }, ""},
		{5, func() { l.Refused(topic) }, `reason=topic_authorization_failed error="not t: bad; see y"`},
		{5, func() { l.Served("group g") }, ""}, // by a connection that was there before
		{5, func() { l.Refused(topic) }, ""},
		{15, func() { l.Served("group g") }, `msg="no longer refused by a server" server=kafka reason=authentication_failed`},
		{10, func() { l.Served("group g") }, ""},
		{0, func() { l.Served("topic t") }, `reason=topic_authorization_failed scope="topic t"`},
		{0, func() { l.Served("topic t") }, ""},
		{0, func() { l.Refused(topic) }, `server=kafka reason=topic_authorization_failed`},
		{0, func() { l.Refused(&Error{Scope: "topic t", Reason: "other", Err: errors.New("bad")}) }, `reason=other`},
	} {
		out.Reset()
		now = now.Add(time.Duration(step.after) * time.Second)
		step.do()
		if got := out.String(); !strings.Contains(got, step.want) || strings.Count(got, "\n") != min(1, len(step.want)) {
			t.Errorf("step %d: said %q, want %q", i, got, step.want)
		}
	}
	NewLog("kafka", nil, nil).Refused(login)
}

func TestLevel(t *testing.T) {
	refused := &Error{Err: errors.New("bad")}
	for _, tt := range []struct {
		err  error
		want slog.Level
	}{
		{errors.New("away"), slog.LevelWarn},
		{refused, slog.LevelDebug},
		{errors.Join(errors.New("away"), fmt.Errorf("read: %w", refused)), slog.LevelDebug},
	} {
		if got := Level(tt.err); got != tt.want {
			t.Errorf("%v: level %v, want %v", tt.err, got, tt.want)
		}
	}
	if !errors.Is(refused, refused.Err) {
		t.Error("the server's answer is not to be found")
	}
}
