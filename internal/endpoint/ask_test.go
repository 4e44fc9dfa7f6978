package endpoint

import "testing"

func TestDialled(t *testing.T) {
	for listen, want := range map[string]string{
		":9464": "127.0.0.1:9464", "0.0.0.0:9464": "127.0.0.1:9464", "[::]:9464": "[::1]:9464", "127.0.0.1:9464": "127.0.0.1:9464",
		"[::1]:1": "[::1]:1", "192.0.2.7:9464": "192.0.2.7:9464", "localhost:9464": "localhost:9464", ":0": "", "9464": "",
	} {
		if got, err := dialled(listen); got != want || (err == nil) != (want != "") {
			t.Errorf("%s is asked at %q, %v, want %q", listen, got, err, want)
		}
	}
}
