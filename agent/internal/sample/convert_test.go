package sample

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"syscall"
	"testing"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func TestConversions(t *testing.T) {
	tests := []struct {
		name      string
		got, want telemetry.Micro
	}{
		{"0 K", Celsius(0), -273_150_000},
		{"0 degree", Celsius(physic.ZeroCelsius), 0},
		{"25.08 degree", Celsius(physic.ZeroCelsius + 25080*physic.MilliCelsius), 25_080_000},
		{"half a millionth rounds up", Celsius(physic.ZeroCelsius + 500*physic.NanoKelvin), 1},
		{"less rounds down", Celsius(physic.ZeroCelsius + 499*physic.NanoKelvin), 0},
		{"below zero half rounds away from it", Celsius(physic.ZeroCelsius - 500*physic.NanoKelvin), -1},
		{"below zero less rounds towards it", Celsius(physic.ZeroCelsius - 499*physic.NanoKelvin), 0},
		{"44.2 %RH", Percent(442 * physic.MilliRH), 44_200_000},
		{"the finest humidity", Percent(physic.TenthMicroRH), 10},
		{"1013.25 hPa", Hectopascal(101325 * physic.Pascal), 1_013_250_000},
		{"1 Pa", Hectopascal(physic.Pascal), 10_000},
		{"half a millionth of a hectopascal", Hectopascal(50 * physic.MicroPascal), 1},
		{"less", Hectopascal(50*physic.MicroPascal - 1), 0},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %d millionths, want %d", tt.name, tt.got, tt.want)
		}
	}
}

func TestDivideRoundsHalfAwayFromZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		d := rapid.Int64Range(1, 1<<62).Draw(t, "d")
		q := divide(n, d)
		// 2|n - qd| <= d, and where it is equal |qd| > |n|.
		exact := new(big.Int).Mul(big.NewInt(q), big.NewInt(d))
		off := new(big.Int).Sub(big.NewInt(n), exact)
		twice := off.Abs(off).Lsh(off, 1)
		switch twice.Cmp(big.NewInt(d)) {
		case 1:
			t.Fatalf("%d/%d = %d, off by more than half", n, d, q)
		case 0:
			if exact.CmpAbs(big.NewInt(n)) < 0 {
				t.Fatalf("%d/%d = %d, a half rounded towards zero", n, d, q)
			}
		}
	})
}

func TestReason(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{syscall.ENXIO, NACK},
		{fmt.Errorf("bus: %w", syscall.ENXIO), NACK},
		{syscall.ETIMEDOUT, Timeout},
		{context.DeadlineExceeded, Timeout},
		{fmt.Errorf("poll: %w", os.ErrDeadlineExceeded), Timeout},
		{syscall.EIO, IO},
		{errors.New("anything"), IO},
		{fmt.Errorf("sense: %w", &FaultError{CRC, errors.New("0x12")}), CRC},
		{&FaultError{WrongChip, syscall.ENXIO}, WrongChip},
	}
	for _, errno := range nackErrnos {
		tests = append(tests, struct {
			err  error
			want string
		}{&os.PathError{Op: "ioctl", Path: "/dev/i2c-1", Err: errno}, NACK})
	}
	for _, tt := range tests {
		if got := Reason(tt.err); got != tt.want {
			t.Errorf("Reason(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
