package drivers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := Sleep(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("slept %v, %v: want 1s", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("slept %v, %v: want 1s, %v", time.Since(start), err, context.DeadlineExceeded)
		}
	})
}

func TestRangeError(t *testing.T) {
	var err error = &RangeError{
		Quantity: "pressure", Value: 29 * physic.KiloPascal, Min: 30 * physic.KiloPascal, Max: 110 * physic.KiloPascal,
	}
	if want := "pressure 29kPa out of range: want 30kPa to 110kPa"; err.Error() != want {
		t.Errorf("got %q: want %q", err, want)
	}
	if !errors.Is(err, ErrOutOfRange) {
		t.Error("it is not an ErrOutOfRange")
	}
}
