package refusal

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// settled is how long nothing must have been refused for what is served to mean
// that it is over: connections made before a password was changed serve on, and
// the parts of a process try again after 15 s at most.
const settled = 20 * time.Second

// Error is a refusal. Its text has no secret.
type Error struct {
	// Scope is what is refused: a topic, a group, a collection, or "" for the
	// connection, and with it everything.
	Scope string

	// Reason is a stable label of metrics.
	Reason string

	// Message says who refuses what to whom, and Hint where to look.
	Message, Hint string

	Err error // the server's own answer, or what is wrong with its certificate
}

func (e *Error) Error() string { return e.Message + ": " + e.Err.Error() + "; " + e.Hint }

// Unwrap returns the server's own answer.
func (e *Error) Unwrap() error { return e.Err }

// Level returns the level at which one of many parts logs an error after which
// it tries again: a refusal is in the log already.
func Level(err error) slog.Level {
	if refused := (*Error)(nil); errors.As(err, &refused) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Log says each refusal of one server, or cluster, once until it is over. It is
// safe for concurrent use.
type Log struct {
	server string
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	said map[string]said // by scope
}

// said is a refusal that is in the log.
type said struct {
	reason string
	last   time.Time // that it was met
}

// NewLog returns a Log for the server of that name, such as kafka. A nil logger
// discards; a nil clock is time.Now.
func NewLog(server string, logger *slog.Logger, now func() time.Time) *Log {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Log{server: server, log: logger, now: now, said: make(map[string]said)}
}

// Refused notes a refusal.
func (l *Log) Refused(e *Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.said[e.Scope].reason
	l.said[e.Scope] = said{e.Reason, l.now()}
	if before != e.Reason {
		l.log.Error("refused by a server; retrying", "server", l.server, "reason", e.Reason, "error", e)
	}
}

// Served notes that the server has done what it was asked for with the scopes,
// and therefore that it takes the connection.
func (l *Log) Served(scopes ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.said) == 0 {
		return
	}
	for _, scope := range append(scopes, "") {
		if s, ok := l.said[scope]; ok && l.now().Sub(s.last) >= settled {
			delete(l.said, scope)
			l.log.Info("no longer refused by a server", "server", l.server, "reason", s.reason, "scope", scope)
		}
	}
}
