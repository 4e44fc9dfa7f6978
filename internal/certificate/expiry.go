package certificate

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// Soon is how long before a certificate's end [Expiry] warns of it.
	Soon = 14 * 24 * time.Hour

	warnInterval = 24 * time.Hour // between two warnings of one file
	lookInterval = time.Hour      // between two looks at whether there is something to warn of
	readInterval = time.Minute    // the least between two reads
)

// File is a PEM file of certificates.
type File struct {
	Use         string // what they are used for, such as mqtt_client
	Name        string // the file's name; "" is none
	Authorities bool   // any one of them will do, as of authorities; else they are a chain
}

// Expiry tells when the certificates in some files end. It is safe for concurrent
// use.
type Expiry struct {
	files []File
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	read   time.Time
	ends   map[string]time.Time
	errors map[string]error
	warned map[string]time.Time
}

// NewExpiry returns the Expiry of those of the files that have a name. They need
// not be there.
func NewExpiry(files []File, now func() time.Time, log *slog.Logger) *Expiry {
	e := &Expiry{now: now, log: log, warned: make(map[string]time.Time)}
	for _, f := range files {
		if f.Name != "" {
			e.files = append(e.files, f)
		}
	}
	return e
}

// Ends returns when what each file is used for will no longer work for the age of
// its certificates, by use: of a chain, the first end; of authorities, the first
// end of those that have not ended, for a file holds an old authority beside its
// successor, and the last end once all have. A file that cannot be read is not
// there. Files are read at most once a minute.
func (e *Expiry) Ends() map[string]time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refresh()
	return maps.Clone(e.ends)
}

// End returns the end for one use, the zero time if it has none.
func (e *Expiry) End(use string) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refresh()
	return e.ends[use]
}

func (e *Expiry) refresh() {
	now := e.now()
	if since := now.Sub(e.read); e.ends != nil && since >= 0 && since < readInterval {
		return
	}
	e.read, e.ends, e.errors = now, make(map[string]time.Time), make(map[string]error)
	for _, f := range e.files {
		if end, err := f.end(now); err != nil {
			e.errors[f.Use] = err
		} else {
			e.ends[f.Use] = end
		}
	}
}

func (f File) end(now time.Time) (time.Time, error) {
	data, err := read(f.Name)
	if err != nil {
		return time.Time{}, err
	}
	all, err := Parse(data)
	if err != nil {
		return time.Time{}, err
	}
	end := all[0].NotAfter
	for _, c := range all[1:] {
		earlier := c.NotAfter.Before(end)
		if f.Authorities && (!end.After(now) || !c.NotAfter.After(now)) {
			earlier = !earlier // one of the two has ended: the later counts
		}
		if earlier {
			end = c.NotAfter
		}
	}
	return end, nil
}

// Warn logs each file whose certificates end within [Soon] or have ended, and each
// that cannot be read, unless it did so less than a day ago.
func (e *Expiry) Warn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refresh()
	now := e.now()
	for _, f := range e.files {
		end, err := e.ends[f.Use], e.errors[f.Use]
		left := end.Sub(now)
		if err == nil && left >= Soon {
			delete(e.warned, f.Use)
			continue
		}
		if last, ok := e.warned[f.Use]; ok && now.Sub(last) < warnInterval && !now.Before(last) {
			continue
		}
		e.warned[f.Use] = now
		log := e.log.With("use", f.Use, "file", f.Name)
		switch {
		case err != nil:
			log.Warn("certificate cannot be read", "error", err)
		case left <= 0:
			log.Warn("certificate has expired", "expired", end.UTC().Format(time.RFC3339))
		default:
			log.Warn("certificate expires soon", "expires", end.UTC().Format(time.RFC3339), "days", int(left/(24*time.Hour)))
		}
	}
}

// Watch calls warn at once and each hour, until ctx ends.
func Watch(ctx context.Context, warn func()) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		warn()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
