package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 30 * time.Second: "30s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 10 * time.Minute: "10m",
		20*time.Minute + 10*time.Second: "20m10s", time.Hour: "1h", 100 * time.Minute: "1h40m", 10 * time.Hour: "10h", 24 * time.Hour: "24h",
		time.Hour + 30*time.Second: "1h0m30s", 1500 * time.Millisecond: "1.5s",
	} {
		if got := jobs.Duration(d); got != want {
			t.Errorf("%s became %q, want %q", d, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	mask := jobs.NewMask([]string{"abcdef", " abcdef123456\n", "short", "ghijkl", ""})
	for text, want := range map[string]string{
		"a abcdef b":                          "a *** b",
		"a abcdef123456 b":                    "a *** b", // not *** and the rest of a secret that begins alike
		"abcdefabcdef12345":                   "******12345",
		"abcdefghijkl":                        "******",
		"a short one":                         "a short one",
		"ghs_0123456789abcdefghij and abcdef": "*** and ***",
	} {
		if got := mask(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
