package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	charter "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
)

// Bounds of what is read from a repository for one rollout.
const (
	maxChartFiles  = 5_000    // in packed charts, too
	maxChartBytes  = 20 << 20 // unpacked
	maxChartDepth  = 20       // of folders, and of charts packed into one another
	maxValuesBytes = 1 << 20
)

var byteOrderMark = []byte{0xEF, 0xBB, 0xBF}

// loadChart reads a chart below root. Helm changes the chart it works on, so every
// rollout loads its own.
func loadChart(root *os.Root, dir string) (*chart.Chart, *Failure) {
	dir = path.Clean(dir)
	files, err := readChart(root, dir)
	if err != nil {
		return nil, fail(ReasonChartInvalid, "The chart %s can't be read: %s.", clip(dir, 200), pathCause(err))
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fail(ReasonChartInvalid, "The chart %s can't be loaded: %s.", clip(dir, 200), clip(err.Error(), maxCause))
	}
	if c.Metadata.Type != "" && c.Metadata.Type != "application" {
		return nil, fail(ReasonChartInvalid, "The chart %s is of type %q and can't be installed by itself: point to a chart of type application.", dir, clip(c.Metadata.Type, 40))
	}
	deps := make([]charter.Dependency, 0, len(c.Metadata.Dependencies))
	for _, d := range c.Metadata.Dependencies {
		deps = append(deps, d)
	}
	if err := action.CheckDependencies(c, deps); err != nil {
		return nil, fail(ReasonChartInvalid, "The chart %s lacks dependencies (%s). Nothing is downloaded during a rollout: run `helm dependency build %s` and commit the charts/ folder.", dir, clip(err.Error(), maxCause), dir)
	}
	return c, nil
}

// chartReader collects the files of a chart, within the bounds above.
type chartReader struct {
	root    *os.Root
	rules   *ignore.Rules
	files   []*archive.BufferedFile
	entries int
	bytes   int64
}

func readChart(root *os.Root, dir string) ([]*archive.BufferedFile, error) {
	info, err := root.Stat(dir)
	if err != nil {
		return nil, err
	}
	r := &chartReader{root: root}
	if !info.IsDir() {
		data, err := r.readFile(dir)
		if err != nil {
			return nil, err
		}
		if err := r.checkPacked(dir, data, 0); err != nil {
			return nil, err
		}
		files, err := archive.LoadArchiveFiles(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s is neither a folder nor a packed chart: %w", dir, err)
		}
		return files, nil
	}
	if r.rules, err = r.ignoreRules(dir); err != nil {
		return nil, err
	}
	if err := r.walk(dir, "", 0); err != nil {
		return nil, err
	}
	return r.files, nil
}

func (r *chartReader) ignoreRules(dir string) (*ignore.Rules, error) {
	rules := ignore.Empty()
	data, err := r.readFile(path.Join(dir, ignore.HelmIgnore))
	switch {
	case err == nil:
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", ignore.HelmIgnore, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	rules.AddDefaults()
	return rules, nil
}

// walk follows symbolic links, as Helm does, but only those that stay below the root;
// a link in a circle ends at the depth or file limit.
func (r *chartReader) walk(dir, rel string, depth int) error {
	if depth > maxChartDepth {
		return fmt.Errorf("%s: folders are nested more than %d deep", rel, maxChartDepth)
	}
	d, err := r.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(maxChartFiles + 1)
	_ = d.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, name := range names {
		if r.entries++; r.entries > maxChartFiles {
			return errTooMany
		}
		full, sub := path.Join(dir, name), path.Join(rel, name)
		info, err := r.root.Stat(full)
		if err != nil {
			return err
		}
		if r.rules.Ignore(sub, info) {
			continue
		}
		if info.IsDir() {
			if err := r.walk(full, sub, depth+1); err != nil {
				return err
			}
			continue
		}
		data, err := r.readFile(full)
		if err != nil {
			return err
		}
		if isPackedChart(full) {
			if err := r.checkPacked(sub, data, depth); err != nil {
				return err
			}
		}
		r.files = append(r.files, &archive.BufferedFile{
			Name: sub, ModTime: info.ModTime(), Data: bytes.TrimPrefix(data, byteOrderMark),
		})
	}
	return nil
}

func (r *chartReader) readFile(name string) ([]byte, error) {
	data, err := readBounded(r.root, name, maxChartBytes-r.bytes)
	r.bytes += int64(len(data))
	return data, err
}

// isPackedChart says whether Helm unpacks a file of a chart as one that it depends on.
func isPackedChart(name string) bool {
	dir, file := path.Split(path.Clean(name))
	return path.Base(dir) == "charts" && path.Ext(file) == ".tgz" && !strings.HasPrefix(file, "_") && !strings.HasPrefix(file, ".")
}

// checkPacked measures a packed chart, and those packed within it, before Helm unpacks them
// all into memory: Helm's own limit holds for each of them alone.
func (r *chartReader) checkPacked(name string, data []byte, depth int) error {
	if depth > maxChartDepth {
		return fmt.Errorf("%s: charts are packed into one another more than %d deep", name, maxChartDepth)
	}
	in := bytes.NewReader(data)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	size, err := io.Copy(io.Discard, io.LimitReader(zr, maxChartBytes-r.bytes+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if r.bytes += size; r.bytes > maxChartBytes {
		return errTooLarge(name, maxChartBytes)
	}
	in.Reset(data)
	if err := zr.Reset(in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for files := tar.NewReader(zr); ; {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if r.entries++; r.entries > maxChartFiles {
			return errTooMany
		}
		if size -= file.Size; size < 0 {
			return fmt.Errorf("%s: its files take more space than the archive has for them: pack it without sparse files", name)
		}
		inner := strings.ReplaceAll(file.Name, `\`, "/") // as Helm reads names from Windows
		if !isPackedChart(inner) {
			continue
		}
		packed, err := io.ReadAll(files)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := r.checkPacked(path.Join(name, inner), packed, depth+1); err != nil {
			return err
		}
	}
}

// readBounded reads a regular file below root of at most limit bytes.
func readBounded(root *os.Root, name string, limit int64) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	// Asked before opening: opening a named pipe would wait for its writer.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, errTooLarge(name, limit)
	}
	return data, nil
}

var errTooMany = fmt.Errorf("it has more than %d files", maxChartFiles)

func errTooLarge(name string, limit int64) error {
	return fmt.Errorf("%s exceeds the limit of %d KiB for one chart or values file", name, limit>>10)
}

// pathCause words an error of os.Root for someone who knows the repository, not our disk.
func pathCause(err error) string {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return clip(err.Error(), maxCause)
	}
	name := clip(pe.Path, 200)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s does not exist at this commit", name)
	case strings.Contains(pe.Err.Error(), "escapes"):
		return fmt.Sprintf("%s leads out of the repository", name)
	default:
		return fmt.Sprintf("%s: %s", name, clip(pe.Err.Error(), maxCause))
	}
}
