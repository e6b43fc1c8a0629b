package githubtest

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// artifact is what a run left behind.
type artifact struct {
	id      int64
	run     *WorkflowRun
	name    string
	zip     []byte
	created time.Time
}

// artifactRetention is GitHub's usual one; storageLifetime is how long the address of a log or an artifact can be used,
// from GitHub's pages "REST API endpoints for workflow jobs" and "… for artifacts".
const (
	artifactRetention = 90 * 24 * time.Hour
	storageLifetime   = time.Minute
)

// Artifact leaves files behind, by path, under a name, as actions/upload-artifact does. An earlier one of the name is
// replaced.
func (w *WorkflowRun) Artifact(name string, files map[string][]byte) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	return w.leave(name, files)
}

func (w *WorkflowRun) leave(name string, files map[string][]byte) error {
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file, err := archive.Create(path)
		if err == nil {
			_, err = file.Write(files[path])
		}
		if err != nil {
			return fmt.Errorf("pack artifact %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("pack artifact %s: %w", name, err)
	}
	s := w.Repo.s
	w.artifacts = slices.DeleteFunc(w.artifacts, func(old *artifact) bool { return old.name == name })
	w.artifacts = append(w.artifacts, &artifact{id: s.nextID(), run: w, name: name, zip: packed.Bytes(), created: s.now()})
	s.settled()
	return nil
}

func (a *artifact) expired() bool {
	return a.run.Repo.s.now().After(a.created.Add(artifactRetention))
}

func (a *artifact) shape() object {
	r := a.run.Repo
	self := r.api("actions/artifacts/%d", a.id)
	head := r
	if a.run.pull != nil {
		head = a.run.pull.head
	}
	sum := sha256.Sum256(a.zip)
	return object{"id": a.id, "node_id": nodeID("AR", a.id), "name": a.name, "size_in_bytes": len(a.zip), "url": self, "archive_download_url": self + "/zip", "expired": a.expired(),
		"created_at": stamp(a.created), "updated_at": stamp(a.created), "expires_at": stamp(a.created.Add(artifactRetention)), "digest": "sha256:" + hex.EncodeToString(sum[:]),
		"workflow_run": object{"id": a.run.ID, "repository_id": r.ID, "head_repository_id": head.ID, "head_branch": a.run.HeadBranch, "head_sha": a.run.HeadSHA}}
}

func listArtifacts(c *call) answer {
	run := c.workflowRun()
	if run == nil {
		return notFound()
	}
	var list []*artifact
	for _, a := range slices.Backward(run.artifacts) {
		if want := c.query.Get("name"); want == "" || want == a.name {
			list = append(list, a)
		}
	}
	if c.query.Get("direction") == "asc" {
		slices.Reverse(list)
	}
	return page(c, list, func(some []*artifact) any {
		return object{"total_count": len(list), "artifacts": shapes(some, (*artifact).shape)}
	})
}

func (c *call) artifact() *artifact {
	for _, run := range c.repo.workflowRuns {
		for _, a := range run.artifacts {
			if a.id == c.id("artifact_id") {
				return a
			}
		}
	}
	return nil
}

func getArtifact(c *call) answer {
	if a := c.artifact(); a != nil {
		return ok(a.shape())
	}
	return notFound()
}

func redirectToArtifact(c *call) answer {
	a := c.artifact()
	switch {
	case a == nil || c.params["archive_format"] != "zip":
		return notFound()
	case a.expired():
		return refuse(http.StatusGone, "Artifact has expired")
	}
	return c.redirectToStorage("application/zip", a.name+".zip", a.zip)
}

// stored is a file in the storage that GitHub redirects to.
type stored struct {
	kind, name string
	data       []byte
	until      time.Time
}

// maxStored bounds the files that can be fetched at one time.
const maxStored = 10_000

// redirectToStorage answers with an address that works without a token, for a minute.
func (c *call) redirectToStorage(kind, name string, data []byte) answer {
	s := c.s
	if s.storage == nil || len(s.storage) > maxStored {
		s.storage = map[string]stored{}
	}
	var ticket [16]byte
	_, _ = rand.Read(ticket[:])
	key := hex.EncodeToString(ticket[:])
	s.storage[key] = stored{kind: kind, name: name, data: data, until: s.now().Add(storageLifetime)}
	return answer{status: http.StatusFound, header: http.Header{"Location": {s.URL + "_storage/" + key + "/" + escapePath(name)}, "Content-Type": {"text/html;charset=utf-8"}}}
}

// serveStorage serves logs and artifacts. It belongs to somebody else, as on GitHub: a request that carries a GitHub token
// is refused, because the token went to the wrong host.
func (s *Server) serveStorage(w http.ResponseWriter, r *http.Request) {
	key, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/_storage/"), "/")
	log := Request{Method: r.Method, Path: r.URL.Path, Operation: "storage", Status: http.StatusOK}
	s.mu.Lock()
	file, found := s.storage[key]
	expired := found && s.now().After(file.until)
	failure := s.failureFor("storage", r.URL.Path, 0)
	now := s.now()
	s.mu.Unlock()
	if failure != nil {
		log.Failed, log.Status = failure.String(), 0
		given, answered := failure.answer(now)
		if answered {
			log.Status = given.status
		}
		s.record(log)
		if !answered {
			s.keepSilent(w, r, failure)
			return
		}
		http.Error(w, http.StatusText(given.status), given.status)
		return
	}
	message := ""
	switch {
	case !found:
		log.Status, message = http.StatusNotFound, "The specified blob does not exist."
	case r.Header.Get("Authorization") != "":
		log.Status, message = http.StatusBadRequest, "Authentication information is not given in the correct format: the address needs no token, and must not be sent one."
	case expired:
		log.Status, message = http.StatusForbidden, "Signature not valid in the specified time frame."
	}
	s.record(log)
	if message != "" {
		http.Error(w, message, log.Status)
		return
	}
	w.Header().Set("Content-Type", file.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(file.data)))
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", file.name))
	_, _ = w.Write(file.data)
}
