package githubapp

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// archiveLimits bound what a commit may unpack to.
type archiveLimits struct {
	packed   int64 // bytes of the compressed archive
	unpacked int64 // bytes of all files together
	entries  int   // files, folders and links
	path     int   // bytes of a path, and of a link's target
}

var defaultLimits = archiveLimits{packed: 512 << 20, unpacked: 2 << 30, entries: 100_000, path: 1000}

// An unpacked commit.
type unpacked struct {
	Size    int64     `json:"size"`    // bytes of all files
	Entries int       `json:"entries"` // files, folders and links
	Time    time.Time `json:"time"`    // the commit's
}

// unpack writes a commit's archive, as GitHub makes it (git archive --prefix=NAME/ in tar.gz), into the empty folder of
// root, without the folder at its top. The commit must be the expected one. Files become 0644 or 0755, folders 0755,
// and all get the commit's time; symbolic links must lead to a place inside.
//
// What is wrong with the content is a *jobs.Refusal. A stream that breaks is an error like any other.
func unpack(ctx context.Context, stream io.Reader, root *os.Root, sha string, limits archiveLimits) (unpacked, error) {
	packed := &bounded{io.NopCloser(stream), limits.packed}
	zipped, err := gzip.NewReader(packed)
	if err != nil {
		return unpacked{}, unpackError(packed, limits, err)
	}
	u := &unpacker{root: root, limits: limits, archive: tar.NewReader(zipped), dirs: map[string]bool{".": true}}
	if err := u.header(sha); err != nil {
		return unpacked{}, unpackError(packed, limits, err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return unpacked{}, err
		}
		entry, err := u.archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil || errors.Is(err, tar.ErrInsecurePath) { // add refuses what is insecure, with a sentence
			err = u.add(entry)
		}
		if err != nil {
			return unpacked{}, unpackError(packed, limits, err)
		}
	}
	if err := u.finish(); err != nil {
		return unpacked{}, err
	}
	return u.done, nil
}

func unpackError(packed *bounded, limits archiveLimits, err error) error {
	if packed.left < 0 {
		return refuse("the commit's archive is larger than %d MB packed; take big files out of the repository", limits.packed>>20)
	}
	return err
}

func refuse(format string, args ...any) error {
	return &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)}
}

type unpacker struct {
	root    *os.Root
	limits  archiveLimits
	archive *tar.Reader
	top     string // the folder everything lies in
	dirs    map[string]bool
	made    []string // folders, parents first
	links   []link
	done    unpacked
}

type link struct{ name, target string }

// header reads the global header, where git archive notes the commit.
func (u *unpacker) header(sha string) error {
	first, err := u.archive.Next()
	if err == io.EOF {
		return errors.New("the archive is empty")
	}
	if err != nil {
		return err
	}
	if first.Typeflag != tar.TypeXGlobalHeader || first.PAXRecords["comment"] == "" {
		return errors.New("the archive does not say which commit it holds")
	}
	if got := first.PAXRecords["comment"]; got != sha {
		return fmt.Errorf("the archive holds commit %s instead of %s", jobs.Cut(got, 64), sha)
	}
	return nil
}

func (u *unpacker) add(entry *tar.Header) error {
	if u.done.Entries++; u.done.Entries > u.limits.entries {
		return refuse("the commit has more than %d files and folders; Slipway unpacks no more", u.limits.entries)
	}
	name, err := u.name(entry.Name)
	if err != nil {
		return err
	}
	if u.done.Time.IsZero() { // git archive gives every entry the commit's time
		u.done.Time = entry.ModTime.UTC()
		if year := u.done.Time.Year(); year < 1970 || year > 2100 { // a commit may claim any time, a file system not
			u.done.Time = time.Unix(0, 0).UTC()
		}
	}
	switch entry.Typeflag {
	case tar.TypeDir:
		return u.mkdir(name)
	case tar.TypeReg:
		if err := u.mkdir(path.Dir(name)); err != nil {
			return err
		}
		return u.file(name, entry)
	case tar.TypeSymlink:
		if err := u.mkdir(path.Dir(name)); err != nil {
			return err
		}
		target := entry.Linkname
		if len(target) > u.limits.path {
			return refuse("the target of the symbolic link %s is longer than %d bytes", quoted(name), u.limits.path)
		}
		if !validText(target) || path.IsAbs(target) || climbs(path.Join(path.Dir(name), target)) {
			return refuse("the symbolic link %s leads out of the repository, to %s; remove it", quoted(name), quoted(target))
		}
		// Made when all files are written, so that nothing is ever written through a link.
		u.links = append(u.links, link{name, target})
		return nil
	}
	return refuse("%s is neither a file, a folder nor a symbolic link (tar type %q)", quoted(name), entry.Typeflag)
}

// name returns the path below the folder at the archive's top: "." for that folder itself.
func (u *unpacker) name(full string) (string, error) {
	if len(full) > u.limits.path {
		return "", refuse("a path is longer than %d bytes: %s", u.limits.path, quoted(full))
	}
	name := strings.TrimSuffix(full, "/")
	if !validText(name) || !fs.ValidPath(name) || name == "." {
		return "", refuse("a path leads out of the repository or is not clean: %s", quoted(full))
	}
	top, rest, below := strings.Cut(name, "/")
	if u.top == "" {
		u.top = top
	}
	if top != u.top {
		return "", refuse("a path lies beside the folder that holds all others: %s", quoted(full))
	}
	if !below {
		return ".", nil
	}
	return rest, nil
}

func validText(s string) bool { return s != "" && !strings.ContainsRune(s, 0) }

func climbs(cleaned string) bool { return cleaned == ".." || strings.HasPrefix(cleaned, "../") }

func quoted(s string) string { return fmt.Sprintf("%q", jobs.Cut(s, 100)) }

func (u *unpacker) mkdir(name string) error {
	if u.dirs[name] {
		return nil
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	// Folders that are only implied count, too.
	if len(u.made) >= u.limits.entries {
		return refuse("the commit has more than %d files and folders; Slipway unpacks no more", u.limits.entries)
	}
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return contentError(name, err)
	}
	u.dirs[name] = true
	u.made = append(u.made, name)
	return nil
}

func (u *unpacker) file(name string, entry *tar.Header) error {
	if u.done.Size += entry.Size; entry.Size < 0 || u.done.Size > u.limits.unpacked {
		return refuse("the commit's files are larger than %d MB together; take big files out of the repository", u.limits.unpacked>>20)
	}
	mode := fs.FileMode(0o644)
	if entry.Mode&0o100 != 0 {
		mode = 0o755
	}
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return contentError(name, err)
	}
	_, err = io.Copy(out, u.archive)
	if err == nil {
		err = out.Chmod(mode) // whatever the umask
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return u.root.Chtimes(name, u.done.Time, u.done.Time)
}

// finish makes the links, looks where they lead, and settles the folders.
func (u *unpacker) finish() error {
	if u.top == "" {
		return errors.New("the archive is empty")
	}
	for _, l := range u.links {
		if err := u.root.Symlink(l.target, l.name); err != nil {
			return contentError(l.name, err)
		}
	}
	// By its text each link stays inside; by way of other links it may still not.
	for _, l := range u.links {
		if _, err := u.root.Stat(l.name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return refuse("the symbolic link %s leads out of the repository or in a circle, to %s; remove it", quoted(l.name), quoted(l.target))
		}
	}
	for i := len(u.made) - 1; i >= 0; i-- {
		if err := u.settle(u.made[i]); err != nil {
			return err
		}
	}
	return u.settle(".")
}

// settle gives a folder its mode, whatever the umask, and its time, which every file put into it had changed.
func (u *unpacker) settle(name string) error {
	if err := u.root.Chmod(name, 0o755); err != nil {
		return err
	}
	return u.root.Chtimes(name, u.done.Time, u.done.Time)
}

// contentError turns what a strange archive causes into a refusal, and leaves trouble of the disk's alone.
func contentError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return refuse("%s is in the archive twice, or is a file and a folder", quoted(name))
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EILSEQ):
		return refuse("%s can't be a file's name on this server", quoted(name))
	}
	return err
}
