// Package usbip offers emulated USB devices over USB/IP, so that a Linux machine
// can plug them in over the network: its kernel (vhci-hcd) drives them as if
// they were in one of its own ports.
//
// A client opens a connection and asks what there is, or for one device. What
// is asked for becomes the client's: from then on the connection carries that
// device's transfers. All numbers are big-endian.
//
//	request to list         version 0111, code 8005, status
//	answer                  version 0111, code 0005, status, number of devices, and of each:
//	                          path [256] · bus id [32] · bus · device · speed ·
//	                          vendor, product, release [2 each] ·
//	                          class, subclass, protocol, configuration, configurations, interfaces [1 each]
//	                          and of each interface: class, subclass, protocol, 0
//	request to import       version 0111, code 8003, status, bus id [32]
//	answer                  version 0111, code 0003, status, and if that is 0 the device as above,
//	                          without its interfaces
//
//	then, 48 bytes each     command · number · device · direction · endpoint [4 each], and
//	1 submit                  flags · length · frame · packets · interval [4 each] · setup [8]; data if it goes out
//	3 its answer              status · length · frame · packets · errors [4 each] · 0 [8]; data if it comes in
//	2 unlink                  the number of the transfer that is no longer wanted [4] · 0 [24]
//	4 its answer              status [4] · 0 [24]
//
// A status is 0 or a negative errno. USB/IP knows neither passwords nor
// encryption: leave it on the loopback.
//
// Source: the kernel's Documentation/usb/usbip_protocol.rst.
package usbip
