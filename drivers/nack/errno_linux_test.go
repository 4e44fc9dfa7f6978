package nack

import (
	"syscall"
	"testing"
)

func TestIsOfRaspberryPi(t *testing.T) {
	if !Is(syscall.EREMOTEIO) {
		t.Error("what the Raspberry Pi's adapter says is not taken for one")
	}
}
