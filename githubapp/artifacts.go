package githubapp

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxArtifactZip  = 1 << 20  // bytes of an artifact that is downloaded
	maxArtifactFile = 64 << 10 // bytes of the file in it
)

// WorkflowArtifacts lists what a run left behind, at most 100, newest first. It costs one call.
func (a *App) WorkflowArtifacts(ctx context.Context, installation int64, repo jobs.Repository, run int64) ([]jobs.WorkflowArtifact, error) {
	var said struct {
		Artifacts []struct {
			ID      int64     `json:"id"`
			Name    string    `json:"name"`
			Size    int64     `json:"size_in_bytes"`
			Expired bool      `json:"expired"`
			Created time.Time `json:"created_at"`
		} `json:"artifacts"`
	}
	ctx = asking(ctx, priorityNew, "actions/list-workflow-run-artifacts")
	if err := a.askRun(ctx, installation, repo, run, "/artifacts?"+paged(nil, maxArtifacts, 1), &said); err != nil {
		return nil, err
	}
	var list []jobs.WorkflowArtifact
	for _, s := range said.Artifacts[:min(len(said.Artifacts), maxArtifacts)] {
		list = append(list, jobs.WorkflowArtifact(s))
	}
	return list, nil
}

// ArtifactFile reads the one file of an artifact, by its name within. An artifact that is larger than 1 MB, holds other than
// exactly one file, or one of more than 64 KB, and one that GitHub has no longer, is a *jobs.Refusal.
func (a *App) ArtifactFile(
	ctx context.Context, installation int64, repo jobs.Repository, artifact int64,
) (name string, content []byte, err error) {
	attempt := fmt.Sprintf("read artifact %d of %s", artifact, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", attempt, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	stream, err := a.stored(asking(ctx, priorityNew, "actions/download-artifact"), c,
		fmt.Sprintf("repos/%s/%s/actions/artifacts/%d/zip", repo.Owner, repo.Name, artifact), "the artifact")
	if absent(err) {
		return "", nil, &jobs.Refusal{Sentence: "GitHub has the artifact no longer: it expired, or was deleted.", Cause: err}
	}
	if err != nil {
		return "", nil, permanentForWorkflows(fmt.Errorf("%s: %w", attempt, err), repo)
	}
	defer stream.Close()
	packed, err := io.ReadAll(io.LimitReader(stream, maxArtifactZip+1))
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", attempt, &Unavailable{Operation: "download the artifact", After: troubleFirst, Cause: bare(err)})
	}
	return onlyFile(packed)
}

// onlyFile unpacks an archive of one file. What the archive says about sizes is not believed.
func onlyFile(packed []byte) (name string, content []byte, err error) {
	refuse := func(cause error, format string, args ...any) (string, []byte, error) {
		return "", nil, &jobs.Refusal{Sentence: fmt.Sprintf(format, args...), Cause: cause}
	}
	if len(packed) > maxArtifactZip {
		return refuse(nil, "The artifact is larger than %d MB.", maxArtifactZip>>20)
	}
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return refuse(err, "The artifact is not a zip archive that can be read.")
	}
	var only *zip.File
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if only != nil {
			return refuse(nil, "The artifact holds more than one file; leave exactly one in it.")
		}
		only = f
	}
	switch {
	case only == nil:
		return refuse(nil, "The artifact holds no file; leave exactly one in it.")
	case !only.Mode().IsRegular():
		return refuse(nil, "The artifact holds something other than a file; leave exactly one file in it.")
	}
	in, err := only.Open()
	if err != nil {
		return refuse(err, "The artifact's file can't be unpacked.")
	}
	defer in.Close()
	content, err = io.ReadAll(io.LimitReader(in, maxArtifactFile+1))
	switch {
	case len(content) > maxArtifactFile:
		return refuse(nil, "The artifact's file is larger than %d KB.", maxArtifactFile>>10)
	case err != nil:
		return refuse(err, "The artifact's file can't be unpacked.")
	}
	return strings.ToValidUTF8(jobs.Cut(only.Name, 255), "�"), content, nil
}
