// Package certificate reads certificates, keys and authorities from files that
// are renewed while a program runs, and tells when certificates end.
package certificate
