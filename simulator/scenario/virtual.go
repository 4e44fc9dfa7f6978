package scenario

import (
	"errors"
	"testing"
	"testing/synctest"
)

// Virtually runs f in a bubble of testing/synctest: its time begins at the turn
// of the year 2000, passes only while all of f's goroutines wait for it, and
// then at once. All of them must end with f, and none may wait for anything
// outside, not for a context of outside either.
//
// Go offers that time to tests alone; so this is a test of one function, run
// in the program. Virtually is not for use within a test, which has synctest,
// nor for two calls at once.
func Virtually(f func()) error {
	testing.Init() // the flags that RunTests looks at, with their defaults
	ok := testing.RunTests(
		func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "scenario", F: func(t *testing.T) {
			synctest.Test(t, func(*testing.T) { f() })
		}}},
	)
	if !ok {
		return errVirtual
	}
	return nil
}

var errVirtual = errors.New("scenario: what was to run in virtual time ended in another way than by returning")
