package nack

import "syscall"

// i2c-bcm2835 says EREMOTEIO, most other adapters ENXIO.
var errnos = []syscall.Errno{syscall.ENXIO, syscall.EREMOTEIO}
