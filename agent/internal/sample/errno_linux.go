package sample

import "syscall"

// i2c-bcm2835 says EREMOTEIO, most other adapters ENXIO.
var nackErrnos = []syscall.Errno{syscall.ENXIO, syscall.EREMOTEIO}
