package mongo

import "testing"

// TestEnsureIndexes: those that are absent are made, those that are there stay.
func TestEnsureIndexes(t *testing.T) {
	c, sent := connect(t)
	for range 2 {
		if err := c.EnsureIndexes(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent.golden(t, "indexes")
	}
}

func TestPing(t *testing.T) {
	c, sent := connect(t)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent.golden(t, "ping")
}
