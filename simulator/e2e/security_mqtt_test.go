//go:build integration

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/await"
)

// TestCertificates shows whom the broker lets in, on both of its listeners with
// TLS.
func TestCertificates(t *testing.T) {
	a := newAuthority(t, "pi-1", "stolen")
	a.pki("device", "late", "--start", "20240101000000Z", "--end", "20240201000000Z")
	a.pki("device", "early", "--start", "20300101000000Z", "--end", "20310101000000Z")
	a.pki("revoke", "device", "stolen")
	foreign := newAuthority(t, "pi-1")
	b := startMosquitto(t, a, nil)

	with := func(pair tls.Certificate) *tls.Config {
		config := a.client("", "")
		config.Certificates = []tls.Certificate{pair}
		return config
	}
	old := a.client("device", "pi-1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	weak := a.client("device", "pi-1")
	weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	for _, test := range []struct {
		name   string
		config *tls.Config // nil: no TLS
		says   string      // in the broker's log
	}{
		{"no TLS", nil, "wrong version number"},
		{"no certificate", a.client("", ""), "peer did not return a certificate"},
		{"self-signed", with(selfSigned(t, "pi-1")), "certificate verify failed"},
		{"another authority of the same name", with(foreign.client("device", "pi-1").Certificates[0]), "certificate verify failed"},
		{"a server's", a.client("server", "localhost"), "certificate verify failed"},
		{"expired", a.client("device", "late"), "certificate verify failed"},
		{"not yet valid", a.client("device", "early"), "certificate verify failed"},
		{"revoked", a.client("device", "stolen"), "certificate verify failed"},
		{"TLS 1.1", old, "unsupported protocol"},
		{"CBC", weak, "no shared cipher"},
	} {
		for _, url := range []string{devicesURL, servicesURL} {
			t.Run(test.name+" "+url, func(t *testing.T) {
				if test.config == nil {
					url = strings.Replace(url, "tls://", "tcp://", 1)
				}
				before := len(b.output.String())
				if _, err := dialMQTT(t, url, test.config); err == nil {
					t.Fatal("it is let in")
				}
				await.True(t, time.Minute, "the broker says "+test.says, func() bool { return strings.Contains(b.output.String()[before:], test.says) })
				if said := b.output.String()[before:]; strings.Contains(said, "New client connected") {
					t.Errorf("the broker says\n%s", said)
				}
			})
		}
	}
	for version := uint16(tls.VersionTLS12); version <= tls.VersionTLS13; version++ {
		config := a.client("device", "pi-1")
		config.MinVersion, config.MaxVersion = version, version
		mustDialMQTT(t, devicesURL, config)
	}
	mustDialMQTT(t, servicesURL, a.client("client", "telltale-ingest"))
	if _, err := dialMQTT(t, seedURL, nil); err != nil {
		t.Error(err)
	}
}

// selfSigned returns a certificate for a client that is of no authority.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRights has a device try to be another and to be ingest. What a client may
// not publish is acknowledged and dropped; a message that it may, after it on the
// same connection, shows that the first never came.
func TestRights(t *testing.T) {
	a := newAuthority(t, "pi-1", "pi-2")
	startMosquitto(t, a, nil)
	as := func(id string) func(*paho.ClientOptions) { return func(o *paho.ClientOptions) { o.SetClientID(id) } }
	ingest := mustDialMQTT(t, servicesURL, a.client("client", "telltale-ingest"), as("ingest-1"))
	arrived := subscribeTo(t, ingest, "$share/group/telltale/v1/+/frames", "telltale/v1/+/status", "iot-frames")
	victim := mustDialMQTT(t, devicesURL, a.client("device", "pi-1"))
	received := subscribeTo(t, victim, "telltale/v1/pi-1/receipts", "telltale/v1/pi-1/config/desired")
	lost := make(chan error, 1)
	rogue := mustDialMQTT(t, devicesURL, a.client("device", "pi-2"), func(o *paho.ClientOptions) {
		o.SetUsername("telltale-ingest").SetClientID("pi-1").SetCleanSession(false) // which is of no use
		o.SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	})
	seen := subscribeTo(t, rogue, "#", "+/#", "telltale/v1/#", "telltale/v1/+/frames", "telltale/v1/+/receipts", "$share/group2/telltale/v1/+/receipts",
		"telltale/v1/pi-1/config/desired", "$SYS/#", "iot-frames")

	for _, topic := range []string{
		"telltale/v1/pi-1/frames", "telltale/v1/pi-1/status", "telltale/v1/pi-1/receipts", "telltale/v1/pi-1/config/desired", "telltale/v1/pi-1/config/reported",
		"telltale/v1/pi-2/receipts", "telltale/v1/pi-2/config/desired", "telltale/v1/pi-2.x/frames", "telltale/v1/pi-2/frames/x", "telltale/v2/pi-2/frames",
		"telltale/v1/telltale-ingest/frames", "iot-frames", "$SYS/broker/version", "anything",
	} {
		publishTo(t, rogue, topic, "forged", true)
	}
	publishTo(t, rogue, "telltale/v1/pi-2/frames", "own", false)
	if got := messagesUntil(t, arrived, "telltale/v1/pi-2/frames own"); len(got) > 0 {
		t.Errorf("ingest has got %q", got)
	}
	publishTo(t, rogue, "telltale/v1/pi-2/status", "own", true)
	messagesUntil(t, arrived, "telltale/v1/pi-2/status own")

	t.Log("what ingest sends comes to whom it is for")
	publishTo(t, victim, "telltale/v1/pi-1/frames", "private", false)
	publishTo(t, victim, "telltale/v1/pi-1/status", "private", true)
	for _, topic := range []string{
		"telltale/v1/pi-1/frames", "telltale/v1/pi-1/config/desired", "iot-frames", "telltale/v1/pi-2/status", // not ingest's to write
		"telltale/v1/pi-1/receipts", "telltale/v1/pi-2/receipts",
	} {
		publishTo(t, ingest, topic, "by ingest", false)
	}
	if got := messagesUntil(t, received, "telltale/v1/pi-1/receipts by ingest"); len(got) > 0 {
		t.Errorf("pi-1 has got %q", got)
	}
	// One message comes once for each of a client's subscriptions that match it.
	if got := messagesUntil(t, seen, "telltale/v1/pi-2/receipts by ingest"); len(got) > 0 {
		t.Errorf("pi-2 has got %q", got)
	}
	publishTo(t, ingest, "telltale/v1/pi-2/receipts", "last", false)
	if got := messagesUntil(t, seen, "telltale/v1/pi-2/receipts last"); slices.ContainsFunc(got, func(m string) bool { return m != "telltale/v1/pi-2/receipts by ingest" }) {
		t.Errorf("pi-2 has got %q", got)
	}

	t.Log("nobody has thrown another out")
	for name, client := range map[string]paho.Client{"ingest": ingest, "the victim": victim, "the rogue": rogue} {
		if !client.IsConnectionOpen() {
			t.Errorf("%s is disconnected", name)
		}
	}
	t.Log("an exporter reads what the broker tells of itself, and nothing else")
	a.pki("client", "telltale-exporter")
	told := subscribeTo(t, mustDialMQTT(t, servicesURL, a.client("client", "telltale-exporter"), as("exporter")), "telltale/v1/#", "iot-frames", "$SYS/broker/version")
	select {
	case m := <-told:
		if !strings.HasPrefix(m, "$SYS/broker/version mosquitto version 2.") {
			t.Errorf("the exporter has got %q", m)
		}
	case <-time.After(time.Minute):
		t.Error("the exporter has got nothing")
	}

	t.Log("an operator deletes the status of a device that is gone, and may nothing else")
	a.pki("client", "telltale-operator")
	operator := mustDialMQTT(t, servicesURL, a.client("client", "telltale-operator"), as("operator"))
	messagesUntil(t, subscribeTo(t, operator, "telltale/v1/#"), "telltale/v1/pi-2/status own")
	publishTo(t, operator, "telltale/v1/pi-2/frames", "by the operator", false)
	publishTo(t, operator, "telltale/v1/pi-1/receipts", "by the operator", false)
	publishTo(t, operator, "telltale/v1/pi-2/status", "", true)
	if got, want := messagesUntil(t, arrived, "telltale/v1/pi-2/status "), []string{"telltale/v1/pi-1/frames private", "telltale/v1/pi-1/status private"}; !cmp.Equal(got, want) {
		t.Errorf("ingest has got %q, want %q", got, want)
	}

	t.Log("a device at the services' listener may nothing")
	device := mustDialMQTT(t, servicesURL, a.client("device", "pi-2"))
	seen = subscribeTo(t, device, "#", "$SYS/#")
	publishTo(t, device, "telltale/v1/pi-2/frames", "elsewhere", false)
	publishTo(t, device, "telltale/v1/pi-1/receipts", "elsewhere", false)
	publishTo(t, ingest, "telltale/v1/pi-1/receipts", "end", false)
	if got := messagesUntil(t, received, "telltale/v1/pi-1/receipts end"); len(got) > 0 {
		t.Errorf("pi-1 has got %q", got)
	}
	publishTo(t, rogue, "telltale/v1/pi-2/frames", "end", false)
	if got := messagesUntil(t, arrived, "telltale/v1/pi-2/frames end"); len(got) > 0 {
		t.Errorf("ingest has got %q", got)
	}
	if len(seen) > 0 {
		t.Errorf("it has got %q", <-seen)
	}

	t.Log("a message beyond max_packet_size ends the connection, and is not acknowledged")
	token := rogue.Publish("telltale/v1/pi-2/frames", 1, false, strings.Repeat("x", 1<<20))
	select {
	case err := <-lost:
		t.Log(err)
	case <-time.After(time.Minute):
		t.Error("the connection is there")
	}
	select {
	case <-token.Done():
		if token.Error() == nil {
			t.Error("it is acknowledged")
		}
	default:
	}
}

// TestSeedListener shows what the way in for the clients of the system before
// is good for: to publish to iot-frames, with a user or without.
func TestSeedListener(t *testing.T) {
	a := newAuthority(t, "pi-1")
	startMosquitto(t, a, nil)
	arrived := subscribeTo(t, mustDialMQTT(t, servicesURL, a.client("client", "telltale-ingest"), func(o *paho.ClientOptions) { o.SetClientID("ingest-1") }),
		"telltale/v1/+/frames", "telltale/v1/+/status", "iot-frames")
	for _, user := range []string{"", "sensor", "pi-1", "telltale-ingest"} {
		client := mustDialMQTT(t, seedURL, nil, func(o *paho.ClientOptions) { o.SetUsername(user).SetPassword("any").SetClientID("seed") })
		seen := subscribeTo(t, client, "#", "iot-frames", "telltale/v1/+/frames")
		for _, topic := range []string{"telltale/v1/pi-1/frames", "telltale/v1/pi-1/status", "telltale/v1/pi-1/receipts", "anything"} {
			publishTo(t, client, topic, "forged", false)
		}
		publishTo(t, client, "iot-frames", "by "+user, false)
		if got := messagesUntil(t, arrived, "iot-frames by "+user); len(got) > 0 {
			t.Errorf("ingest has got %q of user %q", got, user)
		}
		if len(seen) > 0 {
			t.Errorf("user %q has got %q", user, <-seen)
		}
	}
}

// TestSeedPasswords shows the same listener with users and passwords.
func TestSeedPasswords(t *testing.T) {
	a := newAuthority(t)
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", passwords, "sensor", "right").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	startMosquitto(t, a, func(conf string) string {
		seed := strings.LastIndex(conf, "allow_anonymous true")
		return conf[:seed] + "allow_anonymous false\npassword_file " + passwords + conf[seed+len("allow_anonymous true"):]
	})
	for _, test := range []struct{ user, password, refused string }{
		{"sensor", "right", ""}, {"sensor", "wrong", "not Authorized"}, {"other", "right", "not Authorized"}, {"", "", "not Authorized"},
	} {
		_, err := dialMQTT(t, seedURL, nil, func(o *paho.ClientOptions) { o.SetUsername(test.user).SetPassword(test.password) })
		if got := fmt.Sprint(err); test.refused == "" && err != nil || !strings.Contains(got, test.refused) {
			t.Errorf("%s with %q: %v, want %q", test.user, test.password, err, test.refused)
		}
	}
}

// TestReload shows what SIGHUP has Mosquitto take over while it runs (revocations,
// its own certificate, the rights of clients that are connected), and what it takes
// to be rid of a device that is connected when its certificate is revoked.
func TestReload(t *testing.T) {
	a := newAuthority(t, "pi-1", "pi-2")
	b := startMosquitto(t, a, nil)
	ingest := mustDialMQTT(t, servicesURL, a.client("client", "telltale-ingest"), func(o *paho.ClientOptions) { o.SetClientID("ingest-1") })
	arrived := subscribeTo(t, ingest, "telltale/v1/+/frames")
	lost := make(chan error, 1)
	thief := mustDialMQTT(t, devicesURL, a.client("device", "pi-1"), func(o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	})
	other := mustDialMQTT(t, devicesURL, a.client("device", "pi-2"))
	stolen := a.client("device", "pi-1")
	// heard reports whether what the thief publishes comes to ingest.
	count := 0
	heard := func() bool {
		count++
		publishTo(t, thief, "telltale/v1/pi-1/frames", fmt.Sprint(count), false)
		publishTo(t, other, "telltale/v1/pi-2/frames", fmt.Sprint(count), false)
		got := messagesUntil(t, arrived, fmt.Sprintf("telltale/v1/pi-2/frames %d", count))
		return slices.Contains(got, fmt.Sprintf("telltale/v1/pi-1/frames %d", count))
	}
	if !heard() {
		t.Fatal("the device is not heard")
	}

	t.Log("its certificate is revoked: it cannot come, and does not go")
	a.pki("revoke", "device", "pi-1")
	a.pki("renew", "server", "localhost")
	b.install()
	b.reload()
	pair, err := tls.LoadX509KeyPair(a.path("server/localhost.crt"), a.path("server/localhost.key"))
	if err != nil {
		t.Fatal(err)
	}
	await.True(t, time.Minute, "the broker shows its new certificate", func() bool {
		conn, err := tls.Dial("tcp", devicesURL[len("tls://"):], a.client("", ""))
		if err != nil {
			return false
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(pair.Leaf.SerialNumber) == 0
	})
	if _, err := dialMQTT(t, devicesURL, stolen); err == nil {
		t.Error("the revoked certificate is let in")
	}
	if !heard() {
		t.Error("the device was disconnected, which the documents deny")
	}

	t.Log("it has no rights any more")
	acl := filepath.Join(b.dir, "devices.acl")
	rules := contentOf(t, acl)
	overwrite(t, acl, append(slices.Clip(rules), "\nuser pi-1\ntopic deny telltale/v1/pi-1/#\n"...))
	b.reload()
	await.True(t, time.Minute, "the device is not heard", func() bool { return !heard() })
	overwrite(t, acl, rules)
	b.reload()
	await.True(t, time.Minute, "the device is heard again", heard)

	t.Log("the device with its next certificate takes the connection over")
	a.pki("renew", "device", "pi-1")
	mustDialMQTT(t, devicesURL, a.client("device", "pi-1"))
	select {
	case err := <-lost:
		t.Log(err)
	case <-time.After(time.Minute):
		t.Error("the thief is connected")
	}
	if _, err := dialMQTT(t, devicesURL, stolen); err == nil {
		t.Error("the revoked certificate is let in")
	}
}

// TestRevocationListEnds shows that a list past its next update refuses every
// client, until there is another.
func TestRevocationListEnds(t *testing.T) {
	a := newAuthority(t, "pi-1")
	a.pki("crl", "--end", time.Now().Add(2*time.Second).UTC().Format("20060102150405Z"))
	b := startMosquitto(t, a, nil)
	config := a.client("device", "pi-1")
	letIn := func() bool { _, err := dialMQTT(t, devicesURL, config); return err == nil }
	await.True(t, time.Minute, "the client is refused", func() bool { return !letIn() })
	a.pki("crl")
	b.install()
	b.reload()
	await.True(t, time.Minute, "the client is let in", letIn)
}
