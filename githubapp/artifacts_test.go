package githubapp

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestArtifacts(t *testing.T) {
	w := newYard(t)
	tokens := w.elsewhere(nil)
	run := w.started()
	repo := described(w.repo)
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise)
	for name, files := range map[string]map[string][]byte{
		"slipway-outputs": {"outputs.json": []byte(`{"a": "b"}`)},
		"two":             {"a": nil, "b": nil},
		"none":            {},
		"large":           {"noise": noise},
		"bomb":            {"zeros": make([]byte, 8<<20)},
		"deep":            {"a/b/c.txt": []byte("c")},
	} {
		ok(t, run.Artifact(name, files))
	}
	list, err := w.app.WorkflowArtifacts(t.Context(), w.inst.ID, repo, run.ID)
	ok(t, err)
	ids := map[string]int64{}
	for _, a := range list {
		if a.ID == 0 || a.Size == 0 || a.Expired || a.Created.IsZero() {
			t.Errorf("got %+v", a)
		}
		ids[a.Name] = a.ID
	}
	if len(ids) != 6 {
		t.Fatalf("got %+v", list)
	}
	read := func(name string) (string, []byte, error) {
		t.Helper()
		file, content, err := w.app.ArtifactFile(t.Context(), w.inst.ID, repo, ids[name])
		clean(t, err)
		return file, content, err
	}
	if file, content, err := read("slipway-outputs"); err != nil || file != "outputs.json" || string(content) != `{"a": "b"}` {
		t.Errorf("got %s, %q, %v", file, content, err)
	}
	if file, content, err := read("deep"); err != nil || file != "a/b/c.txt" || string(content) != "c" {
		t.Errorf("got %s, %q, %v", file, content, err)
	}
	for name, want := range map[string]string{"two": "more than one file", "none": "no file", "large": "larger than 1 MB", "bomb": "larger than 64 KB", "gone": "no longer"} {
		_, content, err := read(name)
		refusedWith(t, name, err, want)
		if content != nil {
			t.Errorf("%s: got %d bytes", name, len(content))
		}
	}
	if tokens.Load() != 0 {
		t.Error("a token went to another host")
	}
	w.Fail(githubtest.Failure{Operation: "storage", Status: 500})
	var away *Unavailable
	if _, _, err := read("deep"); !errors.As(err, &away) {
		t.Errorf("the storage is away: got %v", err)
	}
	w.clock.advance(100 * 24 * time.Hour)
	_, _, err = read("deep")
	refusedWith(t, "expired", err, "no longer")
	if list, err := w.app.WorkflowArtifacts(t.Context(), w.inst.ID, repo, run.ID); err != nil || !list[0].Expired {
		t.Errorf("expired: got %+v, %v", list, err)
	}
}

// An archive's own word about sizes is not believed, nor about what it holds.
func TestOnlyFile(t *testing.T) {
	pack := func(headers ...zip.FileHeader) []byte {
		t.Helper()
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, h := range headers {
			f, err := z.CreateHeader(&h)
			ok(t, err)
			if !strings.HasSuffix(h.Name, "/") {
				_, err = f.Write(bytes.Repeat([]byte("0"), 100_000))
				ok(t, err)
			}
		}
		ok(t, z.Close())
		return b.Bytes()
	}
	link := zip.FileHeader{Name: "link"}
	link.SetMode(0o777 | 1<<27) // fs.ModeSymlink
	liar := pack(zip.FileHeader{Name: "x", Method: zip.Deflate})
	size := []byte{0xa0, 0x86, 0x01, 0x00} // 100,000, in the directory and behind the file
	if bytes.Count(liar, size) != 2 {
		t.Fatalf("the sizes are there %d times", bytes.Count(liar, size))
	}
	liar = bytes.ReplaceAll(liar, size, []byte{10, 0, 0, 0})
	for name, test := range map[string]struct {
		packed []byte
		want   string
	}{
		"no archive":       {[]byte("<html>"), "not a zip archive"},
		"nothing":          {nil, "not a zip archive"},
		"a folder":         {pack(zip.FileHeader{Name: "a/"}), "no file"},
		"a link":           {pack(link), "other than a file"},
		"too large":        {pack(zip.FileHeader{Name: "a/"}, zip.FileHeader{Name: "a/x", Method: zip.Deflate}), "larger than 64 KB"},
		"a lie about size": {liar, "can't be unpacked"},
		"unknown packing":  {bytes.ReplaceAll(pack(zip.FileHeader{Name: "x", Method: zip.Store}), []byte{0x14, 0, 8, 0, 0, 0}, []byte{0x14, 0, 8, 0, 99, 0}), "can't be unpacked"},
		"half":             {liar[:len(liar)/2], "not a zip archive"},
	} {
		_, content, err := onlyFile(test.packed)
		refusedWith(t, name, err, test.want)
		if content != nil {
			t.Errorf("%s: got %d bytes", name, len(content))
		}
	}
}
