package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxProven is how many versions are remembered, the latest ones.
const maxProven = 8

// Trial is a start of one version. The zero Trial is of a program that keeps no
// file, and is never on trial. Its methods are not safe for concurrent use.
type Trial struct {
	file    string
	version string
	on      bool
	notes   notes
}

// notes are what the file says.
type notes struct {
	Proven []string `json:"proven"`          // the one that was proven last is the first
	Trial  string   `json:"trial,omitempty"` // on trial at the latest start, "" if none was
}

// Begin notes in file that version starts; with an empty file it does nothing. A
// version is on trial only if that is certain to be known at its next start, so a
// Trial that comes with an error is not.
func Begin(file, version string) (Trial, error) {
	t := Trial{file: file, version: version}
	if file == "" {
		return t, nil
	}
	n, err := read(file)
	if err != nil {
		return t, err
	}
	t.notes = n
	again := n.Trial == version
	t.notes.Trial = ""
	if len(n.Proven) > 0 && !slices.Contains(n.Proven, version) {
		t.notes.Trial = version
	}
	if t.notes.Trial == n.Trial {
		return t, nil
	}
	if err := write(file, t.notes); err != nil {
		return t, err
	}
	t.on = t.notes.Trial != "" && !again
	return t, nil
}

// On reports whether the version was on trial when it began.
func (t *Trial) On() bool { return t.on }

// Prove notes that the version has been seen to work.
func (t *Trial) Prove() error {
	if t.file == "" || len(t.notes.Proven) > 0 && t.notes.Proven[0] == t.version {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(t.notes.Proven), func(v string) bool { return v == t.version })
	next := notes{Proven: append([]string{t.version}, others...)}
	next.Proven = next.Proven[:min(len(next.Proven), maxProven)]
	if err := write(t.file, next); err != nil {
		return err
	}
	t.notes = next
	return nil
}

// read returns what the file says, nothing if there is none.
func read(file string) (notes, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return notes{}, nil
	}
	if err != nil {
		return notes{}, err
	}
	var n notes
	if err := json.Unmarshal(data, &n); err != nil {
		return notes{}, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// write replaces the file, durably.
func write(file string, n notes) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	fresh := file + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
