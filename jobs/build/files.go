package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

const maxDockerfile = 1 << 20 // bytes

// frontends are the images whose work BuildKit's own Dockerfile frontend does; a "# syntax=" line may name them.
var frontends = []string{"docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"}

// files are a commit's files as a build sees them. Everything is opened through an os.Root, so that no path and no
// link leads out of the checkout.
type files struct {
	context    fsutil.FS // the context folder
	repository fsutil.FS // the whole checkout; BuildKit asks it for the Dockerfile and its .dockerignore only
	dockerfile string    // path from the repository's root, as it is really spelled
	text       []byte    // of the Dockerfile
	close      func()
}

// openFiles checks the recipe's paths against the checkout and opens it. The error is a *jobs.Refusal, or a *fault,
// when it is about what the commit holds.
func openFiles(r recipe, c *jobs.Checkout) (*files, error) {
	dir, err := c.Root.OpenRoot(r.context)
	if err != nil {
		return nil, refusePath("context folder", r.context, err)
	}
	f := &files{
		context: plainFS{dir, c.CommitTime}, repository: plainFS{c.Root, c.CommitTime},
		dockerfile: r.dockerfile, close: func() { dir.Close() },
	}
	text, err := f.readDockerfile(c.Root)
	if err == nil {
		err = checkSyntax(f.dockerfile, text)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	f.text = text
	return f, nil
}

// readDockerfile reads the Dockerfile; where there is none of that name, "dockerfile" will do, as for BuildKit.
func (f *files) readDockerfile(root *os.Root) ([]byte, error) {
	file, err := root.Open(f.dockerfile)
	if errors.Is(err, fs.ErrNotExist) && path.Base(f.dockerfile) == "Dockerfile" {
		low := path.Join(path.Dir(f.dockerfile), "dockerfile")
		if file, err := root.Open(low); err == nil {
			defer file.Close()
			f.dockerfile = low
			return readText(file, low)
		}
	}
	if err != nil {
		return nil, refusePath("Dockerfile", f.dockerfile, err)
	}
	defer file.Close()
	return readText(file, f.dockerfile)
}

func readText(file *os.File, name string) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, refuse("dockerfile %s is not a file: name the file, not its folder", name)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxDockerfile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxDockerfile {
		return nil, refuse("%s has more than %d bytes, too many for a Dockerfile", name, maxDockerfile)
	}
	return text, nil
}

// checkSyntax refuses a Dockerfile that asks for another frontend. The usual line, docker/dockerfile:1, means the
// frontend that BuildKit has built in; it is used whatever the version says, and nothing is downloaded.
func checkSyntax(name string, text []byte) error {
	ref, _, at, ok := parser.DetectSyntax(text)
	if !ok {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err == nil && slices.Contains(frontends, named.Name()) {
		return nil
	}
	line := 1
	if len(at) > 0 {
		line = max(at[0].Start.Line, 1)
	}
	says := fmt.Sprintf("the syntax line asks for the frontend %s, and only docker/dockerfile is possible: remove the line", jobs.Cut(ref, 200))
	return &fault{jobs.Result{
		Conclusion:  jobs.Failure,
		Summary:     fmt.Sprintf("%s line %d: %s", name, line, says),
		Annotations: []jobs.Annotation{{Path: name, Line: line, Level: "failure", Title: "Frontend not possible", Message: says}},
	}}
}

func refusePath(what, p string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &jobs.Refusal{Sentence: fmt.Sprintf("there is no %s %s in this commit: correct the path in the pipeline, or add it", what, p), Cause: err}
	case leadsOut(err):
		return &jobs.Refusal{Sentence: fmt.Sprintf("the %s %s leads out of the repository through a link: a build sees only the repository's own files", what, p), Cause: err}
	}
	// Not a folder, a loop of links, a name too long: what the commit holds.
	return &jobs.Refusal{Sentence: fmt.Sprintf("the %s %s can't be opened", what, p), Cause: err}
}

// A plainFS shows a folder as Git would have it: regular files, folders and links, with Git's two file modes and the
// commit's time. Where and when it was unpacked must not show in an image. Links are sent as links; what is read goes
// through the os.Root, so a link that leads out leads nowhere.
type plainFS struct {
	root   *os.Root
	commit time.Time
}

// Walk visits everything at and below target, in lexical order, as fsutil.FS asks for.
func (p plainFS) Walk(ctx context.Context, target string, visit fs.WalkDirFunc) error {
	target = strings.TrimPrefix(path.Clean("/"+target), "/")
	if target == "" {
		target = "."
	}
	info, err := p.root.Lstat(target)
	if leadsOut(err) {
		return fmt.Errorf("%s: %w", target, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		err := p.visit(ctx, target, info, visit)
		if errors.Is(err, fs.SkipDir) || errors.Is(err, fs.SkipAll) {
			return nil
		}
		return err
	}
	return fs.WalkDir(p.root.FS(), target, func(name string, d fs.DirEntry, err error) error {
		if name == "." && err == nil {
			return nil
		}
		if err != nil {
			return visit(name, nil, err)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return p.visit(ctx, name, info, visit)
	})
}

func (p plainFS) visit(ctx context.Context, name string, info fs.FileInfo, visit fs.WalkDirFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st := &types.Stat{Path: name, ModTime: p.commit.Unix() * int64(time.Second)}
	switch mode := info.Mode(); {
	case mode.IsDir():
		st.Mode = uint32(fs.ModeDir | 0o755)
	case mode&fs.ModeSymlink != 0:
		st.Mode = uint32(fs.ModeSymlink | 0o777)
		link, err := p.root.Readlink(name)
		if err != nil {
			return err
		}
		st.Linkname = link
	case mode.IsRegular():
		st.Mode, st.Size = 0o644, info.Size()
		if mode&0o111 != 0 {
			st.Mode = 0o755
		}
	default: // a device, a socket: nothing that Git could hold
		return nil
	}
	return visit(name, &fsutil.DirEntryInfo{Stat: st}, nil)
}

// Open opens a regular file.
func (p plainFS) Open(name string) (io.ReadCloser, error) {
	return p.root.Open(strings.TrimPrefix(path.Clean("/"+name), "/"))
}

// leadsOut recognizes os.Root's refusal; it exports no error for it.
func leadsOut(err error) bool {
	return err != nil && strings.Contains(err.Error(), "escapes from parent")
}
