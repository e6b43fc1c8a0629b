package githubtest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Bounds of a step's script.
const (
	scriptTimeout    = time.Minute
	maxWorkspaceFile = 16 << 20
)

// sandbox runs scripts in one folder, which they can't leave, without starting any program.
type sandbox struct {
	dir   string
	root  *os.Root
	sleep float64
}

func newSandbox(dir string, sleep float64) (*sandbox, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	b := &sandbox{dir: dir, root: root, sleep: sleep}
	for _, name := range []string{"work", "temp"} {
		if err := root.Mkdir(name, 0o755); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	return b, nil
}

func (b *sandbox) Close() error { return b.root.Close() }

// run interprets a script as bash -e does. It returns the exit status, or an error when the script can't be run or was
// stopped.
func (b *sandbox) run(ctx context.Context, script, dir string, env []variable, output io.Writer) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	parsed, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return 0, fmt.Errorf("the script isn't bash: %w", err)
	}
	pairs := []string{"PATH=/usr/bin:/bin"}
	for _, v := range env {
		pairs = append(pairs, v.name+"="+v.value)
	}
	runner, err := interp.New(interp.Dir(filepath.Join(b.dir, filepath.FromSlash(dir))), interp.Env(expand.ListEnviron(pairs...)), interp.Params("-e"), interp.StdIO(nil, output, output),
		interp.OpenHandler(b.open), interp.ReadDirHandler2(b.readDir), interp.StatHandler(b.stat), interp.AccessHandler(b.access),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return b.program }))
	if err != nil {
		return 0, fmt.Errorf("start the script: %w", err)
	}
	err = runner.Run(ctx, parsed)
	var status interp.ExitStatus
	switch {
	case errors.As(err, &status):
		return int(status), nil
	case err != nil:
		return 0, fmt.Errorf("the script was stopped: %w", err)
	}
	return 0, nil
}

// inside turns a path of a script into one below the root; what lies elsewhere isn't there.
func (b *sandbox) inside(ctx context.Context, name string) (string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(interp.HandlerCtx(ctx).Dir, name)
	}
	relative, err := filepath.Rel(b.dir, name)
	if err != nil || !filepath.IsLocal(relative) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return relative, nil
}

func (b *sandbox) open(ctx context.Context, name string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	if name == os.DevNull {
		return os.OpenFile(os.DevNull, flag, perm)
	}
	relative, err := b.inside(ctx, name)
	if err != nil {
		return nil, err
	}
	file, err := b.root.OpenFile(relative, flag, perm&0o777)
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (b *sandbox) readDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	relative, err := b.inside(ctx, name)
	if err != nil {
		return nil, err
	}
	return fs.ReadDir(b.root.FS(), filepath.ToSlash(relative))
}

func (b *sandbox) stat(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
	relative, err := b.inside(ctx, name)
	if err != nil {
		return nil, err
	}
	if follow {
		return b.root.Stat(relative)
	}
	return b.root.Lstat(relative)
}

func (b *sandbox) access(ctx context.Context, name string, _ interp.AccessMode) error {
	_, err := b.stat(ctx, name, true)
	return err
}

// program stands for the programs that scripts may use.
func (b *sandbox) program(ctx context.Context, args []string) error {
	shell := interp.HandlerCtx(ctx)
	fail := func(status uint8, format string, values ...any) error {
		fmt.Fprintf(shell.Stderr, args[0]+": "+format+"\n", values...)
		return interp.ExitStatus(status)
	}
	switch args[0] {
	case "sleep":
		for _, arg := range args[1:] {
			seconds, err := strconv.ParseFloat(strings.TrimSuffix(arg, "s"), 64)
			if err != nil || seconds < 0 {
				return fail(1, "invalid time interval %q", arg)
			}
			pause(ctx, time.Duration(min(seconds, scriptTimeout.Seconds())*b.sleep*float64(time.Second)))
		}
		return ctx.Err()
	case "mkdir":
		for _, arg := range slices.DeleteFunc(slices.Clone(args[1:]), func(arg string) bool { return arg == "-p" }) {
			relative, err := b.inside(ctx, arg)
			if err == nil {
				err = b.root.MkdirAll(relative, 0o755)
			}
			if err != nil {
				return fail(1, "%v", err)
			}
		}
		return nil
	case "cat":
		if len(args) == 1 && shell.Stdin != nil {
			_, err := io.Copy(shell.Stdout, io.LimitReader(shell.Stdin, maxWorkspaceFile))
			return err
		}
		for _, arg := range args[1:] {
			file, err := b.open(ctx, arg, os.O_RDONLY, 0)
			if err != nil {
				return fail(1, "%v", err)
			}
			_, err = io.Copy(shell.Stdout, io.LimitReader(file, maxWorkspaceFile))
			if err = errors.Join(err, file.Close()); err != nil {
				return fail(1, "%v", err)
			}
		}
		return nil
	}
	return fail(127, "command not found")
}

// stepOutput takes a step's output into its job's log line by line, and the remarks in it as annotations.
type stepOutput struct {
	job  *job
	rest []byte
}

func (o *stepOutput) Write(data []byte) (int, error) {
	o.rest = append(o.rest, data...)
	end := bytes.LastIndexByte(o.rest, '\n') + 1
	if end == 0 && len(o.rest) > maxAnnotationBytes { // a line without an end
		end = len(o.rest)
	}
	o.take(string(o.rest[:end]))
	o.rest = append([]byte(nil), o.rest[end:]...)
	return len(data), nil
}

func (o *stepOutput) flush() {
	o.take(string(o.rest))
	o.rest = nil
}

var remark = regexp.MustCompile(`^::(error|warning|notice)(?: ([^:]*))?::(.*)`)

func (o *stepOutput) take(text string) {
	for line := range strings.Lines(text) {
		found := remark.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			o.print(line)
			continue
		}
		a := Annotation{Level: map[string]string{"error": "failure", "warning": "warning", "notice": "notice"}[found[1]], Message: found[3]}
		for property := range strings.SplitSeq(found[2], ",") {
			switch name, value, _ := strings.Cut(property, "="); name {
			case "file":
				a.Path = value
			case "title":
				a.Title = value
			case "line":
				a.StartLine = number(value, 1)
			case "endLine":
				a.EndLine = number(value, 1)
			}
		}
		o.print("##[" + found[1] + "]" + found[3] + "\n")
		o.job.changeUnlocked("in_progress", func() { o.job.annotate(a) })
	}
}

func (o *stepOutput) print(text string) {
	o.job.changeUnlocked("in_progress", func() { o.job.print(text) })
}

// checkout unpacks a commit's files into the workspace.
func (b *sandbox) checkout(ctx context.Context, git gitDir, sha string) error {
	packed, err := git.run(ctx, nil, "archive", "--format=tar", sha)
	if err != nil {
		return err
	}
	for files := tar.NewReader(bytes.NewReader(packed)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", sha, err)
		}
		name := path.Join("work", header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = b.root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			var data []byte
			if data, err = io.ReadAll(io.LimitReader(files, maxWorkspaceFile)); err == nil {
				err = b.root.WriteFile(name, data, 0o644)
			}
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", sha, err)
		}
	}
}

// collect reads files and folders of the workspace, each named by its path below the last folder they share; what isn't
// there is passed over.
func (b *sandbox) collect(paths []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	total := 0
	for _, name := range paths {
		top := path.Join("work", name)
		err := fs.WalkDir(b.root.FS(), top, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // what can't be read isn't there
			}
			data, err := b.root.ReadFile(file)
			if total += len(data); err == nil && total > maxWorkspaceFile {
				err = fmt.Errorf("the files have more than %d bytes", maxWorkspaceFile)
			}
			inside := strings.TrimPrefix(file, top+"/")
			if file == top {
				inside = path.Base(file)
			}
			files[inside] = data
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("collect %s: %w", name, err)
		}
	}
	return files, nil
}
