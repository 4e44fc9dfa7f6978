package buffer

import (
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestCrash runs generated histories, with kills and power cuts at any
// operation of the disk.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 4})
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		w.bulky = rapid.Bool().Draw(t, "bulky")
		check(w.open())
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				id := rapid.SampledFrom(sensorIDs).Draw(t, "id")
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					check(w.append(id))
				}
			},
			"append many": func(t *rapid.T) {
				for i := range rapid.IntRange(50, 200).Draw(t, "n") {
					check(w.append(sensorIDs[i%len(sensorIDs)]))
				}
			},
			"commit": func(*rapid.T) { check(w.commit()) },
			"read":   func(t *rapid.T) { check(w.readSome(rapid.IntRange(1, 200).Draw(t, "n"))) },
			"free":   func(t *rapid.T) { check(w.free(rapid.IntRange(1, 200).Draw(t, "n"))) },
			"seek":   func(*rapid.T) { w.seekBack() },
			"sync":   func(*rapid.T) { w.sync() },
			"reopen": func(t *rapid.T) {
				check(w.close())
				if w.disk.dead {
					return
				}
				if rapid.Bool().Draw(t, "boot") {
					w.reboot(rapid.Bool().Draw(t, "unsynced"))
				}
				check(w.open())
				check(w.check())
			},
			"kill soon": func(t *rapid.T) {
				w.disk.deadAt = w.disk.ops + rapid.IntRange(1, 30).Draw(t, "ops")
			},
			"kill": func(*rapid.T) { check(w.restart(false, nil)) },
			"cut": func(t *rapid.T) {
				check(w.restart(true, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))))
			},
			"": func(t *rapid.T) {
				if w.b == nil && !w.disk.dead {
					t.Fatal("no buffer on a disk that is alive")
				}
			},
		})
	})
}

// TestEveryCut runs one history, which does everything that touches the disk,
// once for each operation of the disk, with the end of the process or of the
// power at it.
func TestEveryCut(t *testing.T) {
	history := func(w *world) error {
		steps := []func() error{
			func() error { return w.appendAll(10) },
			w.commit,
			func() error { return w.appendAll(20) },
			func() error { return w.readSome(15) },
			func() error { return w.free(15) },
			w.commit,
			func() error { return w.appendAll(110) }, // into the third segment
			func() error { return w.readSome(65) },
			func() error { return w.free(65) },
			w.commit,
			func() error { return w.appendAll(5) },
			w.close,
			func() error {
				if w.disk.dead {
					return nil
				}
				w.reboot(true)
				return w.open()
			},
			func() error { return w.appendAll(5) },
			w.commit,
			func() error { w.sync(); return w.appendAll(5) },
			w.commit,
			func() error { return w.readSome(100) },
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	fresh := func() *world {
		w := newWorld(Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 8})
		w.bulky = true
		return w
	}
	whole := fresh()
	if err := errors.Join(whole.open(), history(whole)); err != nil {
		t.Fatal(err)
	}
	if n := len(whole.b.segs); n < 2 || whole.b.segs[0].base == 0 || len(whole.said) == 0 {
		t.Fatalf("%d segments from %d: the history should have made three or more and freed one", n, whole.b.segs[0].base)
	}
	bounded := 0
	for at := 1; at <= whole.disk.ops; at++ {
		for variant := range 3 {
			w := fresh()
			w.disk.deadAt = at
			err := w.open()
			if err == nil {
				err = history(w)
			}
			rng := rand.New(rand.NewPCG(uint64(at), uint64(variant)))
			for _, power := range []bool{variant > 0, false, true} {
				if err == nil {
					err = w.restart(power, rng)
				}
				if err == nil {
					err = w.appendAll(10)
				}
			}
			if err != nil {
				t.Fatalf("cut at operation %d, variant %d: %v", at, variant, err)
			}
			bounded += w.bounded
		}
	}
	if want := 3 * whole.disk.ops; bounded < want {
		t.Errorf("what is declared was held to its bound after %d cuts, want %d at least", bounded, want)
	}
}
