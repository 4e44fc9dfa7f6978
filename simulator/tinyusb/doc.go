// Package tinyusb emulates an i2c-tiny-usb adapter: a USB device by which a
// machine without I2C gets a bus. Linux drives it with its own i2c_tiny_usb, so
// that an emulated bus becomes a real /dev/i2c-N.
//
// Everything goes over the control endpoint, as requests of the type vendor to
// the interface:
//
//	request          direction  value  index    data          what it does
//	0 echo           in         any    0        2 bytes       answers value
//	1 get func       in         0      0        4 bytes       answers the I2C_FUNC_ bits that the adapter has
//	2 set delay      out        µs     0        none          takes the time of a bit; here without effect
//	3 get status     in         0      0        1 byte        0 idle, 1 acknowledged, 2 not acknowledged
//	4 to 7 message   in, out    flags  address  its bytes     one I2C message
//	  bit 0 begin    the first message of a transaction
//	  bit 1 end      the last one: a stop follows
//
// The kernel sends each message of a transaction as a transfer of its own and
// asks for the status after each. A transfer that stalls, or has no answer for
// 2 s, is EIO to a program in it; the status 2 is ENXIO.
//
// A [Bus], like periph's, takes a write and the read that follows as one. So
// the adapter keeps a write that is not the last message and says that it was
// acknowledged; with the next message the two go to the bus together. A program
// cannot see the difference, as one error stands for all messages. What is not
// a write and then a read of the same address becomes several transactions.
//
// Sources: the kernel's drivers/i2c/busses/i2c-tiny-usb.c, and the firmware by
// Till Harbaum.
package tinyusb
