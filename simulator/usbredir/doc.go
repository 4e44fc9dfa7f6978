// Package usbredir plugs an emulated USB device into a QEMU machine: it is the
// end of the USB redirection protocol at which the device is ("usb-host"), and
// QEMU's device usb-redir is the other ("usb-guest").
//
// A stream carries packets both ways, all numbers with the low byte first:
//
//	 0       4        8           16
//	+-------+--------+-----------+---------------+
//	| type  | length | id        | length bytes  |
//	+-------+--------+-----------+---------------+
//
// Each side begins with a hello, whose id has 4 bytes; the ids after it have 8,
// as both sides have that capability. An answer has the id of what it answers.
//
//	type                    from   content
//	  0 hello               both   64 bytes of text, 4 of capabilities
//	  1 device connect      host   speed, class, subclass, protocol, u16 vendor, u16 product, u16 version
//	  2 device disconnect   host   nothing
//	  3 reset               guest  nothing; has no answer
//	  4 interface info      host   u32 count, then by interface, 32 each: number, class, subclass, protocol
//	  5 endpoint info       host   by endpoint, 32 each: type, interval, interface, u16 max packet size
//	  6 set configuration   guest  value
//	  7 get configuration   guest  nothing
//	  8 configuration       host   status, value; answers 6 and 7
//	  9 set alternate       guest  interface, value
//	 10 get alternate       guest  interface
//	 11 alternate           host   status, interface, value; answers 9 and 10
//	 21 cancel              guest  nothing; the id is that of a transfer
//	 24 disconnect ack      guest  nothing
//	100 control transfer    both   see below
//
// A control transfer and its answer; data goes in one direction only:
//
//	 0          1         2              3        4       6       8        10
//	+----------+---------+--------------+--------+-------+-------+--------+------+
//	| endpoint | request | request type | status | value | index | length | data |
//	+----------+---------+--------------+--------+-------+-------+--------+------+
//
// Endpoint and interface info come before device connect. Endpoints 0 to 15 of
// the first are those to the device, 16 to 31 those from it.
//
// QEMU's xHCI controller refuses a device without the capabilities max packet
// size, 64-bit ids and long bulk transfers (seen with QEMU 7.2).
//
// Source: usb-redirection-protocol.txt, version 0.7, of the project usbredir.
package usbredir
