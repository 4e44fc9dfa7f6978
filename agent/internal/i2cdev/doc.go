// Package i2cdev is the I2C bus of a Linux machine as its device file offers it,
// /dev/i2c-N. A transaction is one ioctl I2C_RDWR; see
// Documentation/i2c/dev-interface.rst of the kernel.
//
// An error wraps the errno of the adapter's driver, as
// Documentation/i2c/fault-codes.rst of the kernel describes them, so that a chip
// that does not answer can be told from a bus that does not work.
//
// The adapter's timeout (I2C_TIMEOUT) is left as it is: it is not the file's but
// the adapter's, also for the kernel's drivers that use it, and 1 s unless the
// adapter's driver has another. Neither is a transaction tried again that was
// interrupted: it may have been on the wire.
//
// An open file keeps the adapter from being removed. When one on USB is unplugged,
// i2c_del_adapter (drivers/i2c/i2c-core-base.c, Linux 6.12) waits until its files
// are closed, and with it the hub's worker, which therefore does not notice that the
// adapter was plugged in again. So keep a [Bus] open no longer than it is used.
// Transactions say meanwhile what the adapter's driver says: i2c-tiny-usb EIO, or
// EOPNOTSUPP as it is asked first what it can do, and others ENODEV.
package i2cdev
