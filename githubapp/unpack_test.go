package githubapp

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const testSHA = "0123456789abcdef0123456789abcdef01234567"

var commitTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type item struct {
	name   string
	kind   byte // 0: a file
	body   string
	target string
	mode   int64
	size   int64 // when not the body's
	time   time.Time
}

// pack makes an archive as GitHub's are, of any items.
func pack(t testing.TB, comment string, items ...item) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	if comment != "" {
		ok(t, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": comment}}))
	}
	for _, i := range items {
		header := &tar.Header{Name: i.name, Typeflag: i.kind, Linkname: i.target, Mode: i.mode, Size: int64(len(i.body)), ModTime: commitTime, Format: tar.FormatPAX}
		if i.kind == 0 {
			header.Typeflag = tar.TypeReg
		}
		if i.mode == 0 {
			header.Mode = 0o664
		}
		if !i.time.IsZero() {
			header.ModTime = i.time
		}
		if i.size != 0 {
			header.Size = i.size
		}
		ok(t, archive.WriteHeader(header))
		if _, err := io.WriteString(archive, i.body); err != nil {
			t.Fatal(err)
		}
		if i.size > int64(len(i.body)) { // leaves the stream cut off
			ok(t, zipped.Close())
			return out.Bytes()
		}
	}
	ok(t, archive.Close())
	ok(t, zipped.Close())
	return out.Bytes()
}

func unpackInto(t testing.TB, packed []byte, limits archiveLimits) (dir string, done unpacked, err error) {
	t.Helper()
	// A folder within a folder: what escapes lands where the test looks.
	outer := t.TempDir()
	dir = filepath.Join(outer, "a", "tree")
	ok(t, os.MkdirAll(dir, 0o755))
	root, err := os.OpenRoot(dir)
	ok(t, err)
	defer root.Close()
	done, err = unpack(t.Context(), bytes.NewReader(packed), root, testSHA, limits)
	inspect(t, outer, dir)
	return dir, done, err
}

// inspect fails when anything lies beside the folder, or anything in it is what it must not be.
func inspect(t testing.TB, outer, dir string) {
	t.Helper()
	for _, at := range []string{outer, filepath.Dir(dir)} {
		entries, err := os.ReadDir(at)
		ok(t, err)
		if len(entries) != 1 {
			t.Errorf("something was written beside the folder: %v", entries)
		}
	}
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Type() {
		case 0, fs.ModeDir, fs.ModeSymlink:
		default:
			t.Errorf("%s is a %s", path, d.Type())
		}
		info, err := d.Info()
		if err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky|0o022) != 0 && d.Type() != fs.ModeSymlink {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	}))
}

func TestUnpack(t *testing.T) {
	packed := pack(t, testSHA,
		item{name: "acme-shop-0123456/", kind: tar.TypeDir, mode: 0o777},
		item{name: "acme-shop-0123456/README.md", body: "# Shop\n", mode: 0o4664},
		item{name: "acme-shop-0123456/bin/run", body: "#!/bin/sh\n", mode: 0o775},
		item{name: "acme-shop-0123456/empty/", kind: tar.TypeDir},
		item{name: "acme-shop-0123456/bin/again", kind: tar.TypeSymlink, target: "run"},
		item{name: "acme-shop-0123456/deep/er/up", kind: tar.TypeSymlink, target: "../../README.md"},
		item{name: "acme-shop-0123456/dangling", kind: tar.TypeSymlink, target: "nowhere/x"},
		item{name: "acme-shop-0123456/" + strings.Repeat("long/", 40) + "ä b", body: "x"},
	)
	dir, done, err := unpackInto(t, packed, defaultLimits)
	ok(t, err)
	if !done.Time.Equal(commitTime) || done.Size != int64(len("# Shop\n#!/bin/sh\nx")) || done.Entries != 8 {
		t.Errorf("got %+v", done)
	}
	for name, want := range map[string]struct {
		mode    fs.FileMode
		content string
	}{
		"README.md": {0o644, "# Shop\n"}, "bin/run": {0o755, "#!/bin/sh\n"}, "bin/again": {0o755, "#!/bin/sh\n"},
		"deep/er/up": {0o644, "# Shop\n"}, "empty": {fs.ModeDir | 0o755, ""}, ".": {fs.ModeDir | 0o755, ""}, strings.Repeat("long/", 40) + "ä b": {0o644, "x"},
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		ok(t, err)
		if info.Mode() != want.mode || !info.ModTime().Equal(commitTime) {
			t.Errorf("%s: mode %s, time %s, want %s, %s", name, info.Mode(), info.ModTime(), want.mode, commitTime)
		}
		if data, err := os.ReadFile(filepath.Join(dir, name)); !info.IsDir() && (err != nil || string(data) != want.content) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "dangling")); err != nil || target != "nowhere/x" {
		t.Errorf("dangling: %q, %v", target, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	limits := archiveLimits{packed: 1 << 20, unpacked: 1 << 20, entries: 20, path: 200}
	many := make([]item, 21)
	for i := range many {
		many[i] = item{name: fmt.Sprintf("t/%d", i)}
	}
	link := func(name, target string) item { return item{name: "t/" + name, kind: tar.TypeSymlink, target: target} }
	for name, test := range map[string]struct {
		items []item
		says  string
	}{
		"parent":                      {[]item{{name: "t/../../evil"}}, "leads out"},
		"parent at the top":           {[]item{{name: "../evil"}}, "leads out"},
		"dots in the middle":          {[]item{{name: "t/a/../b"}}, "leads out"},
		"absolute":                    {[]item{{name: "/etc/evil"}}, "leads out"},
		"dot":                         {[]item{{name: "./t/a"}}, "leads out"},
		"double slash":                {[]item{{name: "t//a"}}, "leads out"},
		"not UTF-8":                   {[]item{{name: "t/\xff\xfe"}}, "leads out"},
		"beside the top":              {[]item{{name: "t/a"}, {name: "u/a"}}, "beside"},
		"the top is a file":           {[]item{{name: "t"}}, "twice"},
		"the top is a link":           {[]item{{name: "t", kind: tar.TypeSymlink, target: "x"}}, "twice"},
		"absolute link":               {[]item{link("a", "/etc/passwd")}, "leads out"},
		"link out":                    {[]item{link("a", "../x")}, "leads out"},
		"link far out":                {[]item{link("d/e/a", "../../../x")}, "leads out"},
		"link with an empty target":   {[]item{link("a", "")}, "leads out"},
		"link out by a link":          {[]item{{name: "t/c/f"}, link("p/q/b", "../../c"), link("l", "p/q/b/../../x")}, "leads out"},
		"link in a circle":            {[]item{link("a", "b"), link("b", "a")}, "circle"},
		"long link":                   {[]item{link("a", strings.Repeat("x", 201))}, "longer than 200"},
		"through a link":              {[]item{link("d", "e"), {name: "t/d/f"}}, "twice"},
		"a link over a folder":        {[]item{{name: "t/d/f"}, link("d", "e")}, "twice"},
		"a file over a link":          {[]item{link("d", "e"), {name: "t/d"}}, "twice"},
		"a file twice":                {[]item{{name: "t/a", body: "1"}, {name: "t/a", body: "2"}}, "twice"},
		"a file as a folder":          {[]item{{name: "t/a"}, {name: "t/a/b"}}, "twice"},
		"a folder as a file":          {[]item{{name: "t/a/b"}, {name: "t/a"}}, "twice"},
		"hard link":                   {[]item{{name: "t/a", kind: tar.TypeLink, target: "/etc/passwd"}}, "neither"},
		"character device":            {[]item{{name: "t/a", kind: tar.TypeChar}}, "neither"},
		"block device":                {[]item{{name: "t/a", kind: tar.TypeBlock}}, "neither"},
		"pipe":                        {[]item{{name: "t/a", kind: tar.TypeFifo}}, "neither"},
		"too many":                    {many, "more than 20"},
		"too many folders in between": {[]item{{name: "t/" + strings.Repeat("a/", 21) + "f"}}, "more than 20"},
		"too large together":          {[]item{{name: "t/a", body: strings.Repeat("x", 600<<10)}, {name: "t/b", body: strings.Repeat("x", 600<<10)}}, "larger than 1 MB together"},
		"too large by its own word":   {[]item{{name: "t/a", body: "x", size: 1 << 40}}, "larger than 1 MB together"},
		"long path":                   {[]item{{name: "t/" + strings.Repeat("a", 200)}}, "longer than 200"},
	} {
		_, _, err := unpackInto(t, pack(t, testSHA, test.items...), limits)
		var refusal *jobs.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, test.says) {
			t.Errorf("%s: got %v, want a refusal with %q", name, err, test.says)
		}
	}
	noise := make([]byte, 2<<20) // does not compress
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	big := defaultLimits
	big.packed = 1 << 20
	var refusal *jobs.Refusal
	_, _, err := unpackInto(t, pack(t, testSHA, item{name: "t/a", body: string(noise)}), big)
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, "larger than 1 MB packed") {
		t.Errorf("too large packed: got %v", err)
	}
	// A name that the file system can't hold, within our own limits.
	_, _, err = unpackInto(t, pack(t, testSHA, item{name: "t/" + strings.Repeat("a", 300)}), defaultLimits)
	if !errors.As(err, &refusal) {
		t.Errorf("name of 300 bytes: got %v, want a refusal", err)
	}
}

func TestUnpackOfABrokenStreamIsOurTrouble(t *testing.T) {
	good := pack(t, testSHA, item{name: "t/a", body: strings.Repeat("x", 100_000)})
	for name, packed := range map[string][]byte{
		"another commit":  pack(t, strings.Repeat("f", 40), item{name: "t/a"}),
		"no commit":       pack(t, "", item{name: "t/a"}),
		"nothing at all":  nil,
		"nothing in it":   pack(t, testSHA),
		"cut off":         good[:len(good)/2],
		"no gzip":         []byte("<!DOCTYPE html>"),
		"cut in a file":   pack(t, testSHA, item{name: "t/a", body: "x", size: 1000}),
		"gzip of nothing": func() []byte { var b bytes.Buffer; ok(t, gzip.NewWriter(&b).Close()); return b.Bytes() }(),
	} {
		_, _, err := unpackInto(t, packed, defaultLimits)
		var refusal *jobs.Refusal
		if err == nil || errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want an error that is tried again", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root, err := os.OpenRoot(t.TempDir())
	ok(t, err)
	defer root.Close()
	if _, err := unpack(ctx, bytes.NewReader(good), root, testSHA, defaultLimits); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestUnpackTakesAnyCommitTime(t *testing.T) {
	for _, at := range []time.Time{time.Unix(-1<<40, 0), time.Unix(1<<40, 0)} {
		dir, done, err := unpackInto(t, pack(t, testSHA, item{name: "t/a", time: at}), defaultLimits)
		ok(t, err)
		info, err := os.Stat(filepath.Join(dir, "a"))
		if err != nil || !done.Time.Equal(time.Unix(0, 0)) || !info.ModTime().Equal(done.Time) {
			t.Errorf("%s: got %+v, %v", at, done, err)
		}
	}
}

// FuzzUnpack builds archives from scripts, one entry a line: its tar type, name, target and content, with bars between.
// Whatever an archive holds, nothing lands outside or is what it must not be. (archive/tar's own decoding is fuzzed where
// it lives; scripts get to what matters here, paths and links, much faster than bytes.)
func FuzzUnpack(f *testing.F) {
	f.Add("0|t/a||x")
	f.Add("5|t/\n2|t/l|a/../b|\n0|t/a/b||y")
	f.Add("0|t/../x||x\n1|t/l|t/a|")
	f.Add("2|t/p/q/b|../../c|\n2|t/l|p/q/b/../../x|\n0|t/c/f||x")
	f.Add("2|t/a|b|\n2|t/b|a|\n3|t/c||\n0|t/a/x||1")
	limits := archiveLimits{packed: 1 << 20, unpacked: 1 << 20, entries: 100, path: 300}
	f.Fuzz(func(t *testing.T, script string) {
		var packed bytes.Buffer
		zipped := gzip.NewWriter(&packed)
		archive := tar.NewWriter(zipped)
		ok(t, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": testSHA}}))
		for line := range strings.SplitSeq(script, "\n") {
			field := append(strings.SplitN(line, "|", 4), "", "", "", "")
			header := &tar.Header{Typeflag: (field[0] + "0")[0], Name: field[1], Linkname: field[2], Mode: 0o7777, ModTime: commitTime}
			if header.Typeflag == tar.TypeReg {
				header.Size = int64(len(field[3]))
			}
			if archive.WriteHeader(header) != nil {
				continue // it can't be written down
			}
			if _, err := io.WriteString(archive, field[3][:header.Size]); err != nil {
				t.Fatal(err)
			}
		}
		ok(t, archive.Close())
		ok(t, zipped.Close())
		dir, done, err := unpackInto(t, packed.Bytes(), limits)
		if err != nil {
			return
		}
		var size int64
		root, err := os.OpenRoot(dir)
		ok(t, err)
		defer root.Close()
		ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			ok(t, err)
			if d.Type() == fs.ModeSymlink {
				if _, err := root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
					t.Errorf("the link %q leads astray: %v", name, err)
				}
				return nil
			}
			info, err := d.Info()
			if err == nil && !d.IsDir() {
				size += info.Size()
			}
			return err
		}))
		if size != done.Size || size > limits.unpacked || done.Entries > limits.entries {
			t.Errorf("got %+v, %d bytes on disk", done, size)
		}
	})
}

// BenchmarkUnpack unpacks a commit of 2,000 files of 4 KB.
func BenchmarkUnpack(b *testing.B) {
	items := make([]item, 2000)
	for i := range items {
		items[i] = item{name: fmt.Sprintf("t/dir%d/sub/file%d.go", i%50, i), body: strings.Repeat("some line of code\n", 228)}
	}
	packed := pack(b, testSHA, items...)
	parent := b.TempDir()
	b.SetBytes(2000 * 228 * 18)
	n := 0
	for b.Loop() {
		n++
		dir := filepath.Join(parent, fmt.Sprint(n))
		ok(b, os.Mkdir(dir, 0o755))
		root, err := os.OpenRoot(dir)
		ok(b, err)
		_, err = unpack(b.Context(), bytes.NewReader(packed), root, testSHA, defaultLimits)
		ok(b, err)
		root.Close()
		b.StopTimer()
		ok(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}
