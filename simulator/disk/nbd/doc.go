// Package nbd serves a block device to QEMU, or any other client of the NBD
// protocol, through a socket.
//
// It speaks the fixed newstyle handshake and the baseline of the transmission
// phase: READ, WRITE with FUA, FLUSH and DISC, answered one by one in the order
// in which they come. What it leaves out (TLS, structured replies, TRIM,
// WRITE_ZEROES, several exports) it does not offer, and clients do without.
//
// Source: the NBD protocol,
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
package nbd
