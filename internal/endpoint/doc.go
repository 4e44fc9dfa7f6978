// Package endpoint is a program's own HTTP endpoint: /metrics, /healthz and
// /readyz, with TLS and authentication if they are configured, and the client
// that asks it for the command health.
//
// Credentials protect /metrics. /healthz and /readyz answer everybody, since
// what probes them (an orchestrator, a load balancer) rarely has any; once
// credentials are configured, the reasons in an answer of theirs are for those
// who have them, and others get the status alone.
//
// Certificates, keys and authorities are read again when their files change.
// Passwords are compared by bcrypt, one at a time, and tokens in constant time.
package endpoint
