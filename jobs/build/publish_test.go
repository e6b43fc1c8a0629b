package build

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/jobs"
)

func publisherFor(t testing.TB, g *guarded, repo string) *publisher {
	t.Helper()
	r, err := newRegistries(map[string]Registry{g.host(): g.conf(t)}).get(g.host())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPublisher(r, repo)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInspect(t *testing.T) {
	for _, c := range []struct {
		name      string
		platforms []string
		multi     bool
	}{
		{"one platform and its attestation", []string{"linux/amd64"}, false},
		{"two platforms", []string{"linux/amd64", "linux/arm64"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuarded(t, "bearer")
			index, images := g.putIndex(t, "acme/shop", c.platforms...)
			d, _ := index.Digest()
			img, err := publisherFor(t, g, "acme/shop").inspect(t.Context(), d.String())
			if err != nil {
				t.Fatal(err)
			}
			want, _ := images[0].Digest()
			if c.multi {
				want = d
			}
			if img.digest != want.String() || img.index != d.String() {
				t.Errorf("digest %s of index %s, want %s of %s", img.digest, img.index, want, d)
			}
			var size int64
			for _, i := range images {
				m, _ := i.Manifest()
				size += m.Config.Size
				for _, l := range m.Layers {
					size += l.Size
				}
			}
			if img.size != size {
				t.Errorf("size %d, want %d", img.size, size)
			}
		})
	}
	t.Run("a plain manifest", func(t *testing.T) {
		g := newGuarded(t, "basic")
		one := randomImage(t)
		g.put(t, "acme/shop", "x", one)
		d, _ := one.Digest()
		img, err := publisherFor(t, g, "acme/shop").inspect(t.Context(), d.String())
		if err != nil || img.digest != d.String() || img.index != "" {
			t.Errorf("got %+v, %v", img, err)
		}
	})
}

// tagsOf lists what each tag of a repository points to.
func tagsOf(t testing.TB, p *publisher) map[string]string {
	t.Helper()
	names, err := remote.List(p.repo, p.options(t.Context())...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range names {
		d, err := remote.Head(p.repo.Tag(n), p.options(t.Context())...)
		if err != nil {
			t.Fatal(err)
		}
		out[n] = d.Digest.String()
	}
	return out
}

func TestPublish(t *testing.T) {
	for _, c := range []struct {
		name     string
		run      jobs.RunInfo
		stale    string
		existing []string
		tags     []string // set
		kept     string   // what is said about the others
	}{
		{"newest", push("main"), "", []string{"latest"}, []string{"sha-0123456789ab", "latest"}, ""},
		{"overtaken by a newer push", push("main"), "commit 9999 is newer", []string{"latest"}, []string{"sha-0123456789ab"}, "latest stays where it is: commit 9999 is newer"},
		{"a pull request that moved on", pull(7, "topic", false), "commit 9999 is newer", nil, nil, "pr-7 stays where it is"},
		{"first release", pushTag("v1.2.3"), "", nil, []string{"1.2.3", "1.2", "1"}, ""},
		{"next release", pushTag("v1.2.3"), "", []string{"1.2.2", "1.2", "1", "0.9.0"}, []string{"1.2.3", "1.2", "1"}, ""},
		{"fix of an older line", pushTag("v1.2.3"), "", []string{"1.3.0", "1.3", "1"}, []string{"1.2.3", "1.2"}, "1 stays where it is: 1.3.0 is a higher release than 1.2.3"},
		{"release built late", pushTag("v1.2.3"), "", []string{"1.2.4", "1.2", "1"}, []string{"1.2.3"}, "1.2 stays where it is: 1.2.4 is a higher release"},
		{"prerelease", pushTag("v1.2.3-rc.1"), "", []string{"1.2", "1"}, []string{"1.2.3-rc.1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuarded(t, "bearer")
			old := randomImage(t)
			oldDigest, _ := old.Digest()
			for _, tag := range c.existing {
				g.put(t, "acme/shop", tag, old)
			}
			index, _ := g.putIndex(t, "acme/shop", "linux/amd64")
			d, _ := index.Digest()
			task, rec := newTask(t, nil, g.host(), jobs.BuildSpec{Image: g.host() + "/acme/shop"})
			task.Run, rec.stale = c.run, c.stale
			r, err := newRecipe(task, allows)
			if err != nil {
				t.Fatal(err)
			}
			p := publisherFor(t, g, "acme/shop")
			img, err := p.inspect(t.Context(), d.String())
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second call is the one after a crash
				done, err := p.publish(t.Context(), task, r, img)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(done.tags, c.tags) {
					t.Errorf("set %q, want %q", done.tags, c.tags)
				}
				if kept := strings.Join(done.kept, "; "); !strings.Contains(kept, c.kept) || (c.kept == "") != (kept == "") {
					t.Errorf("said %q, want %q", kept, c.kept)
				}
			}
			got := tagsOf(t, p)
			for _, tag := range c.tags {
				if got[tag] != d.String() {
					t.Errorf("%s is %s, want %s", tag, got[tag], d)
				}
			}
			for _, tag := range c.existing {
				if !slices.Contains(c.tags, tag) && got[tag] != oldDigest.String() {
					t.Errorf("%s was moved to %s", tag, got[tag])
				}
			}
			if len(c.tags) > 0 && len(rec.locks) > 0 && !strings.HasPrefix(rec.locks[0], "tag "+g.host()+"/acme/shop:") {
				t.Errorf("locks: %q", rec.locks)
			}
			for _, tag := range without(c.tags, r.immutable) {
				if !slices.Contains(rec.locks, "tag "+g.host()+"/acme/shop:"+tag) {
					t.Errorf("%s moved without its lock", tag)
				}
			}
		})
	}
}

func without(tags, immutable []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return slices.Contains(immutable, t) })
}

func TestPublishTrouble(t *testing.T) {
	gone := errors.New("records are away")
	for _, c := range []struct {
		name   string
		change func(g *guarded, task *jobs.Task)
		result string // text of a result; empty when an error is wanted
		err    string
	}{
		{"denied", func(g *guarded, _ *jobs.Task) { g.refuse = "acme/shop" }, "refused the push", ""},
		{"registry broken", func(g *guarded, _ *jobs.Task) { g.broken = http.StatusInternalServerError }, "", "500"},
		{"registry busy", func(g *guarded, _ *jobs.Task) { g.broken = http.StatusTooManyRequests }, "", "429"},
		{"newest unknown", func(_ *guarded, task *jobs.Task) {
			task.Newest = func(context.Context) (bool, string, error) { return true, "", gone }
		}, "", gone.Error()},
		{"lock not to be had", func(_ *guarded, task *jobs.Task) {
			task.Lock = func(context.Context, string, func(context.Context) error) error { return gone }
		}, "", gone.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuarded(t, "basic")
			index, _ := g.putIndex(t, "acme/shop", "linux/amd64")
			d, _ := index.Digest()
			task, _ := newTask(t, nil, g.host(), jobs.BuildSpec{Image: g.host() + "/acme/shop"})
			r, err := newRecipe(task, allows)
			if err != nil {
				t.Fatal(err)
			}
			p := publisherFor(t, g, "acme/shop")
			img, err := p.inspect(t.Context(), d.String())
			if err != nil {
				t.Fatal(err)
			}
			g.set(func() { c.change(g, &task) })
			_, err = p.publish(t.Context(), task, r, img)
			result, err := explainRegistry(err, r, (&masker{}).clean)
			if c.result != "" && (err != nil || !strings.Contains(result.Summary, c.result)) {
				t.Errorf("got %q, %v, want a result that says %q", result.Summary, err, c.result)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want an error that says %q", err, c.err)
			}
			if got := tagsOfUnlessBroken(t, g, p)["latest"]; got != "" {
				t.Errorf("latest was set to %s", got)
			}
		})
	}
}

func tagsOfUnlessBroken(t testing.TB, g *guarded, p *publisher) map[string]string {
	g.set(func() { g.broken = 0 })
	names, err := remote.List(p.repo, p.options(t.Context())...)
	if err != nil || len(names) == 0 {
		return nil
	}
	return tagsOf(t, p)
}
